#include "server/store/sqlite_store.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "base/error.h"
#include "server/store/schema.h"
#include "server/store/sqlite.h"
#include "server/store/sqlite_transaction.h"

namespace quantd {
namespace {

// Applies the steps that the database lacks, each in its own transaction with the new version.
absl::Status Migrate(SqliteConnection& connection) {
  QD_RETURN_IF_ERROR(
      connection.Execute("CREATE TABLE IF NOT EXISTS schema_version (version INTEGER NOT NULL)"));
  int64_t version = 0;
  {
    QD_ASSIGN_OR_RETURN(SqliteStatement statement,
                        connection.Prepare("SELECT MAX(version) FROM schema_version"));
    QD_RETURN_IF_ERROR(statement.Step().status());
    version = statement.Int();
  }
  const auto steps = Migrations();
  if (version > static_cast<int64_t>(steps.size())) {
    return MakeError(Reason::kWrongState, "the database is of a newer quantd",
                     Violation{.where = "schema_version",
                               .got = absl::StrCat(version),
                               .wanted = absl::StrCat("at most ", steps.size())});
  }
  for (size_t step = static_cast<size_t>(version); step < steps.size(); ++step) {
    const absl::Status done = connection.Execute(
        absl::StrCat("BEGIN IMMEDIATE;", steps[step], ";INSERT INTO schema_version VALUES (",
                     step + 1, ");COMMIT;"));
    if (!done.ok()) {
      connection.Execute("ROLLBACK").IgnoreError();
      return done;
    }
  }
  return absl::OkStatus();
}

class SqliteStore final : public Store {
 public:
  static absl::StatusOr<std::unique_ptr<Store>> Open(const SqliteStoreOptions& options) {
    auto store = std::make_unique<SqliteStore>();
    QD_ASSIGN_OR_RETURN(store->writer_,
                        SqliteConnection::Open(options.path, SqliteConnection::Access::kReadWrite));
    QD_RETURN_IF_ERROR(
        store->writer_->Execute("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; "
                                "PRAGMA foreign_keys = ON; PRAGMA wal_autocheckpoint = 1000"));
    QD_RETURN_IF_ERROR(Migrate(*store->writer_));
    for (int i = 0; i < options.readers; ++i) {
      QD_ASSIGN_OR_RETURN(
          auto reader, SqliteConnection::Open(options.path, SqliteConnection::Access::kReadOnly));
      store->idle_readers_.push_back(std::move(reader));
    }
    return std::unique_ptr<Store>(std::move(store));
  }

  absl::Status Read(const std::function<absl::Status(StoreReader&)>& work) override {
    std::unique_ptr<SqliteConnection> reader = TakeReader();
    reader->Trim();
    absl::Status status = reader->Execute("BEGIN");
    if (status.ok()) {
      SqliteTransaction transaction(*reader);
      status = work(transaction);
      status.Update(reader->Execute("COMMIT"));
    }
    absl::MutexLock lock(&readers_mutex_);
    idle_readers_.push_back(std::move(reader));
    return status;
  }

  absl::Status Write(const std::function<absl::Status(StoreTransaction&)>& work) override {
    absl::MutexLock lock(&writer_mutex_);
    QD_RETURN_IF_ERROR(writer_->Execute("BEGIN IMMEDIATE"));
    SqliteTransaction transaction(*writer_);
    absl::Status status = work(transaction);
    if (status.ok()) status = writer_->Execute("COMMIT");
    if (!status.ok()) writer_->Execute("ROLLBACK").IgnoreError();
    return status;
  }

 private:
  std::unique_ptr<SqliteConnection> TakeReader() {
    absl::MutexLock lock(&readers_mutex_);
    readers_mutex_.Await(absl::Condition(
        +[](std::vector<std::unique_ptr<SqliteConnection>>* idle) { return !idle->empty(); },
        &idle_readers_));
    std::unique_ptr<SqliteConnection> reader = std::move(idle_readers_.back());
    idle_readers_.pop_back();
    return reader;
  }

  absl::Mutex writer_mutex_;
  std::unique_ptr<SqliteConnection> writer_;
  absl::Mutex readers_mutex_;
  std::vector<std::unique_ptr<SqliteConnection>> idle_readers_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Store>> OpenSqliteStore(const SqliteStoreOptions& options) {
  return SqliteStore::Open(options);
}

}  // namespace quantd
