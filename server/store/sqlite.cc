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

// Resets the statement when it goes: it is used again.
class SqliteCursor final : public SqlCursor {
 public:
  SqliteCursor(sqlite3* database, sqlite3_stmt* statement)
      : database_(database), statement_(statement) {}
  ~SqliteCursor() override {
    sqlite3_reset(statement_);
    sqlite3_clear_bindings(statement_);
  }
  SqliteCursor(const SqliteCursor&) = delete;
  SqliteCursor& operator=(const SqliteCursor&) = delete;

  void BindInt(int64_t value) override { sqlite3_bind_int64(statement_, ++parameter_, value); }
  void BindText(std::string_view text) override {
    sqlite3_bind_text64(statement_, ++parameter_, text.data() == nullptr ? "" : text.data(),
                        text.size(), SQLITE_STATIC, SQLITE_UTF8);
  }
  void BindBlob(std::string_view bytes) override {
    sqlite3_bind_blob64(statement_, ++parameter_, bytes.data() == nullptr ? "" : bytes.data(),
                        bytes.size(), SQLITE_STATIC);
  }
  void BindNull() override { sqlite3_bind_null(statement_, ++parameter_); }

  absl::StatusOr<bool> Step() override {
    const int code = sqlite3_step(statement_);
    if (code == SQLITE_ROW) return true;
    if (code == SQLITE_DONE) return false;
    return SqliteError(database_, sqlite3_sql(statement_));
  }
  int64_t Int(int column) const override { return sqlite3_column_int64(statement_, column); }
  std::string Text(int column) const override {
    const auto* bytes = static_cast<const char*>(sqlite3_column_blob(statement_, column));
    const auto size = static_cast<size_t>(sqlite3_column_bytes(statement_, column));
    return bytes == nullptr ? std::string() : std::string(bytes, size);
  }
  bool IsNull(int column) const override {
    return sqlite3_column_type(statement_, column) == SQLITE_NULL;
  }

 private:
  sqlite3* const database_;
  sqlite3_stmt* const statement_;
  int parameter_ = 0;
};

}  // namespace

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

absl::StatusOr<SqlStatement> SqliteConnection::Prepare(const std::string& sql) {
  sqlite3_stmt*& statement = statements_[sql];
  if (statement == nullptr &&
      sqlite3_prepare_v3(database_, sql.data(), static_cast<int>(sql.size()),
                         SQLITE_PREPARE_PERSISTENT, &statement, nullptr) != SQLITE_OK) {
    statements_.erase(sql);
    return SqliteError(database_, sql);
  }
  return SqlStatement(std::make_unique<SqliteCursor>(database_, statement));
}

absl::Status SqliteConnection::Execute(const std::string& sql) {
  if (sqlite3_exec(database_, sql.c_str(), nullptr, nullptr, nullptr) != SQLITE_OK) {
    return SqliteError(database_, sql);
  }
  return absl::OkStatus();
}

int64_t SqliteConnection::RowsChanged() const { return sqlite3_changes64(database_); }

std::string SqliteConnection::ByIndex(std::string_view name) const {
  return absl::StrCat(" INDEXED BY ", ToAbsl(name));
}

}  // namespace quantd
