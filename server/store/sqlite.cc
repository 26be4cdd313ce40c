#include "server/store/sqlite.h"

#include <sqlite3.h>

#include "absl/strings/str_cat.h"
#include "base/error.h"

namespace quantd {
namespace {

constexpr int kBusyTimeoutMs = 10'000;
constexpr size_t kMaxStatements = 200;

absl::Status SqliteError(sqlite3* database, std::string_view what) {
  const int code = sqlite3_errcode(database);
  const std::string text =
      absl::StrCat("store: ", ToAbsl(what), ": ", sqlite3_errmsg(database), " (", code, ")");
  switch (code & 0xFF) {
    case SQLITE_FULL:
      return MakeError(Reason::kDiskFull, text);
    case SQLITE_CONSTRAINT:
      return MakeError(Reason::kAlreadyExists, text);
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN:
    case SQLITE_BUSY:
      return MakeError(Reason::kIo, text);
    default:
      return MakeError(Reason::kInternal, text);
  }
}

}  // namespace

SqliteStatement::SqliteStatement(SqliteStatement&& other) noexcept
    : database_(other.database_),
      statement_(other.statement_),
      parameter_(other.parameter_),
      column_(other.column_) {
  other.statement_ = nullptr;
}

SqliteStatement::~SqliteStatement() {
  if (statement_ == nullptr) return;
  sqlite3_reset(statement_);
  sqlite3_clear_bindings(statement_);
}

SqliteStatement& SqliteStatement::Bind(int64_t value) {
  sqlite3_bind_int64(statement_, ++parameter_, value);
  return *this;
}

SqliteStatement& SqliteStatement::Bind(std::string_view text) {
  sqlite3_bind_text64(statement_, ++parameter_, text.data() == nullptr ? "" : text.data(),
                      text.size(), SQLITE_STATIC, SQLITE_UTF8);
  return *this;
}

SqliteStatement& SqliteStatement::BindBlob(std::string_view bytes) {
  sqlite3_bind_blob64(statement_, ++parameter_, bytes.data() == nullptr ? "" : bytes.data(),
                      bytes.size(), SQLITE_STATIC);
  return *this;
}

SqliteStatement& SqliteStatement::Bind(absl::Time time) { return Bind(absl::ToUnixMicros(time)); }

SqliteStatement& SqliteStatement::BindNull() {
  sqlite3_bind_null(statement_, ++parameter_);
  return *this;
}

SqliteStatement& SqliteStatement::Bind(const std::optional<absl::Time>& time) {
  return time.has_value() ? Bind(*time) : BindNull();
}

absl::StatusOr<bool> SqliteStatement::Step() {
  column_ = 0;
  const int code = sqlite3_step(statement_);
  if (code == SQLITE_ROW) return true;
  if (code == SQLITE_DONE) return false;
  return SqliteError(database_, sqlite3_sql(statement_));
}

absl::Status SqliteStatement::Run() { return Step().status(); }

int64_t SqliteStatement::Int() { return sqlite3_column_int64(statement_, column_++); }

std::string SqliteStatement::Text() {
  const auto* bytes = static_cast<const char*>(sqlite3_column_blob(statement_, column_));
  const auto size = static_cast<size_t>(sqlite3_column_bytes(statement_, column_));
  ++column_;
  return bytes == nullptr ? std::string() : std::string(bytes, size);
}

absl::Time SqliteStatement::Time() { return absl::FromUnixMicros(Int()); }

std::optional<absl::Time> SqliteStatement::OptionalTime() {
  if (NextIsNull()) {
    Skip();
    return std::nullopt;
  }
  return Time();
}

bool SqliteStatement::NextIsNull() const {
  return sqlite3_column_type(statement_, column_) == SQLITE_NULL;
}

absl::StatusOr<std::unique_ptr<SqliteConnection>> SqliteConnection::Open(const std::string& path,
                                                                         Access access) {
  const int flags = SQLITE_OPEN_NOMUTEX |
                    (access == Access::kReadOnly ? SQLITE_OPEN_READONLY
                                                 : SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE);
  sqlite3* database = nullptr;
  const int code = sqlite3_open_v2(path.c_str(), &database, flags, nullptr);
  std::unique_ptr<SqliteConnection> connection(new SqliteConnection(database));
  if (code != SQLITE_OK) return SqliteError(database, "cannot open " + path);
  sqlite3_extended_result_codes(database, 1);
  sqlite3_busy_timeout(database, kBusyTimeoutMs);
  return connection;
}

SqliteConnection::~SqliteConnection() {
  FinalizeAll();
  sqlite3_close(database_);
}

void SqliteConnection::FinalizeAll() {
  for (const auto& [sql, statement] : statements_) sqlite3_finalize(statement);
  statements_.clear();
}

void SqliteConnection::Trim() {
  if (statements_.size() > kMaxStatements) FinalizeAll();
}

absl::StatusOr<SqliteStatement> SqliteConnection::Prepare(const std::string& sql) {
  sqlite3_stmt*& statement = statements_[sql];
  if (statement == nullptr &&
      sqlite3_prepare_v3(database_, sql.data(), static_cast<int>(sql.size()),
                         SQLITE_PREPARE_PERSISTENT, &statement, nullptr) != SQLITE_OK) {
    statements_.erase(sql);
    return SqliteError(database_, sql);
  }
  return SqliteStatement(database_, statement);
}

absl::Status SqliteConnection::Execute(const std::string& sql) {
  if (sqlite3_exec(database_, sql.c_str(), nullptr, nullptr, nullptr) != SQLITE_OK) {
    return SqliteError(database_, sql);
  }
  return absl::OkStatus();
}

int64_t SqliteConnection::LastInsertId() const { return sqlite3_last_insert_rowid(database_); }
int64_t SqliteConnection::RowsChanged() const { return sqlite3_changes64(database_); }

}  // namespace quantd
