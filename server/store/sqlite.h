// SQLite, wrapped: statements that are prepared once, errors as absl::Status. Nothing outside
// server/store sees it.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

struct sqlite3;
struct sqlite3_stmt;

namespace quantd {

// One use of a prepared statement: bind, step, read. Reset when it goes. Thread-compatible, as its
// connection.
class SqliteStatement {
 public:
  SqliteStatement(sqlite3* database, sqlite3_stmt* statement)
      : database_(database), statement_(statement) {}
  ~SqliteStatement();
  SqliteStatement(SqliteStatement&& other) noexcept;
  SqliteStatement& operator=(SqliteStatement&&) = delete;

  // Bind the next parameter. Text must outlive the use.
  SqliteStatement& Bind(int64_t value);
  SqliteStatement& Bind(std::string_view text);
  SqliteStatement& BindBlob(std::string_view bytes);
  SqliteStatement& Bind(absl::Time time);
  SqliteStatement& BindNull();
  SqliteStatement& Bind(const std::optional<absl::Time>& time);

  // Whether there is a row.
  absl::StatusOr<bool> Step();
  // For statements without rows.
  absl::Status Run();

  // The next column of the row.
  int64_t Int();
  std::string Text();
  absl::Time Time();
  std::optional<absl::Time> OptionalTime();
  bool NextIsNull() const;
  void Skip() { ++column_; }

 private:
  sqlite3* database_;
  sqlite3_stmt* statement_;
  int parameter_ = 0;
  int column_ = 0;
};

// Thread-compatible.
class SqliteConnection {
 public:
  enum class Access { kReadWrite, kReadOnly };
  static absl::StatusOr<std::unique_ptr<SqliteConnection>> Open(const std::string& path,
                                                                Access access);
  ~SqliteConnection();
  SqliteConnection(const SqliteConnection&) = delete;
  SqliteConnection& operator=(const SqliteConnection&) = delete;

  // Prepared at its first use and kept.
  absl::StatusOr<SqliteStatement> Prepare(const std::string& sql);
  // Statements without parameters, separated by ';'.
  absl::Status Execute(const std::string& sql);
  // Forgets prepared statements when there are very many (each filter of ListJobs is one). None may
  // be in use.
  void Trim();
  int64_t LastInsertId() const;
  int64_t RowsChanged() const;

 private:
  explicit SqliteConnection(sqlite3* database) : database_(database) {}
  void FinalizeAll();

  sqlite3* database_;
  std::map<std::string, sqlite3_stmt*> statements_;
};

}  // namespace quantd
