// A database that speaks SQL, as the statements of the store see it: SQLite or PostgreSQL. What the
// two say differently is not said: statements are of the SQL that both know, parameters are '?'.
// Nothing outside server/store sees it.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace quantd {

// What a database makes of one use of a statement.
class SqlCursor {
 public:
  virtual ~SqlCursor() = default;
  // The next parameter. Bytes must outlive the use.
  virtual void BindInt(int64_t value) = 0;
  virtual void BindText(std::string_view text) = 0;
  virtual void BindBlob(std::string_view bytes) = 0;
  virtual void BindNull() = 0;
  // Whether there is a row, or one more.
  virtual absl::StatusOr<bool> Step() = 0;
  // Column `column` of the row.
  virtual int64_t Int(int column) const = 0;
  virtual std::string Text(int column) const = 0;  // of texts and blobs
  virtual bool IsNull(int column) const = 0;
};

// One use of a statement: bind, step, read. Thread-compatible, as its connection.
class SqlStatement {
 public:
  explicit SqlStatement(std::unique_ptr<SqlCursor> cursor) : cursor_(std::move(cursor)) {}

  // Bind the next parameter. Text must outlive the use.
  SqlStatement& Bind(int64_t value) {
    cursor_->BindInt(value);
    return *this;
  }
  SqlStatement& Bind(std::string_view text) {
    cursor_->BindText(text);
    return *this;
  }
  SqlStatement& BindBlob(std::string_view bytes) {
    cursor_->BindBlob(bytes);
    return *this;
  }
  SqlStatement& Bind(absl::Time time) { return Bind(absl::ToUnixMicros(time)); }
  SqlStatement& BindNull() {
    cursor_->BindNull();
    return *this;
  }
  SqlStatement& Bind(const std::optional<absl::Time>& time) {
    return time.has_value() ? Bind(*time) : BindNull();
  }

  // Whether there is a row.
  absl::StatusOr<bool> Step() {
    column_ = 0;
    return cursor_->Step();
  }
  // For statements without rows.
  absl::Status Run() { return Step().status(); }

  // The next column of the row.
  int64_t Int() { return cursor_->Int(column_++); }
  std::string Text() { return cursor_->Text(column_++); }
  absl::Time Time() { return absl::FromUnixMicros(Int()); }
  std::optional<absl::Time> OptionalTime();
  bool NextIsNull() const { return cursor_->IsNull(column_); }
  void Skip() { ++column_; }

 private:
  std::unique_ptr<SqlCursor> cursor_;
  int column_ = 0;
};

// Thread-compatible.
class SqlConnection {
 public:
  virtual ~SqlConnection() = default;
  virtual absl::StatusOr<SqlStatement> Prepare(const std::string& sql) = 0;
  // Statements without parameters, separated by ';'.
  virtual absl::Status Execute(const std::string& sql) = 0;
  // By the last statement that was run.
  virtual int64_t RowsChanged() const = 0;
  // " INDEXED BY name" where a database can be told which index to take, else "".
  virtual std::string ByIndex(std::string_view name) const = 0;
};

// "INSERT INTO table (keys, values) VALUES (?, …) ON CONFLICT (keys) DO UPDATE …": a row of those
// keys is replaced.
std::string UpsertSql(std::string_view table, std::initializer_list<std::string_view> keys,
                      std::initializer_list<std::string_view> values);

}  // namespace quantd
