// SQLite as a SqlConnection: statements that are prepared once, errors as absl::Status.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/store/sql.h"

struct sqlite3;
struct sqlite3_stmt;

namespace quantd {

class SqliteConnection final : public SqlConnection {
 public:
  enum class Access { kReadWrite, kReadOnly };
  static absl::StatusOr<std::unique_ptr<SqliteConnection>> Open(const std::string& path,
                                                                Access access);
  ~SqliteConnection() override;
  SqliteConnection(const SqliteConnection&) = delete;
  SqliteConnection& operator=(const SqliteConnection&) = delete;

  // Prepared at its first use and kept.
  absl::StatusOr<SqlStatement> Prepare(const std::string& sql) override;
  absl::Status Execute(const std::string& sql) override;
  int64_t RowsChanged() const override;
  std::string ByIndex(std::string_view name) const override;
  // Forgets prepared statements when there are very many (each filter of ListJobs is one). None may
  // be in use.
  void Trim();

 private:
  explicit SqliteConnection(sqlite3* database) : database_(database) {}
  void FinalizeAll();

  sqlite3* database_;
  std::map<std::string, sqlite3_stmt*> statements_;
};

}  // namespace quantd
