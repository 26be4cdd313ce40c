// PostgreSQL as a SqlConnection, by libpq.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/store/sql.h"

struct pg_conn;
struct pg_result;

namespace quantd {

class PostgresConnection final : public SqlConnection {
 public:
  // `uri`: "postgresql://…" or libpq's "key=value …". UNAVAILABLE if the server cannot be reached
  // or refuses us (libpq's words have no password in them), INVALID_FIELD for a database that is
  // not UTF-8.
  static absl::StatusOr<std::unique_ptr<PostgresConnection>> Open(const std::string& uri);
  ~PostgresConnection() override;
  PostgresConnection(const PostgresConnection&) = delete;
  PostgresConnection& operator=(const PostgresConnection&) = delete;

  // Prepared by the server when it is run for the first time, and kept.
  absl::StatusOr<SqlStatement> Prepare(const std::string& sql) override;
  absl::Status Execute(const std::string& sql) override;
  // PostgreSQL answers the COMMIT of a transaction with a failed statement with a rollback and no
  // error: here it is INTERNAL.
  absl::Status Commit();
  int64_t RowsChanged() const override { return rows_changed_; }
  std::string ByIndex(std::string_view /*name*/) const override { return ""; }

  // Whether the connection is lost, and connecting anew. Statements are prepared anew.
  bool lost() const;
  absl::Status Reconnect();

  // The next "NOTIFY channel, payload" of those that are listened to: its payload. False: none came
  // within a second. UNAVAILABLE when the connection is lost.
  absl::StatusOr<bool> WaitForNotification(std::string& payload);

 private:
  friend class PostgresCursor;
  explicit PostgresConnection(pg_conn* connection) : connection_(connection) {}
  // Takes the result over; an error becomes a status.
  absl::Status Check(pg_result* result, std::string_view what);

  pg_conn* connection_;
  std::map<std::string, std::string> prepared_;  // names of statements, by SQL
  int64_t rows_changed_ = 0;
};

// Whether a transaction that failed so may well succeed when it is run again.
bool MetAnotherTransaction(const absl::Status& status);

}  // namespace quantd
