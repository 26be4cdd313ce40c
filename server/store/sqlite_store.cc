#include "server/store/sqlite_store.h"

#include <utility>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "base/error.h"
#include "server/store/migrate.h"
#include "server/store/schema.h"
#include "server/store/sql_transaction.h"
#include "server/store/sqlite.h"

namespace quantd {
namespace {

class SqliteStore final : public Store {
 public:
  static absl::StatusOr<std::unique_ptr<Store>> Open(const SqliteStoreOptions& options) {
    auto store = std::make_unique<SqliteStore>();
    QD_ASSIGN_OR_RETURN(store->writer_,
                        SqliteConnection::Open(options.path, SqliteConnection::Access::kReadWrite));
    QD_RETURN_IF_ERROR(
        store->writer_->Execute("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; "
                                "PRAGMA foreign_keys = ON; PRAGMA wal_autocheckpoint = 1000"));
    QD_RETURN_IF_ERROR(Migrate(*store->writer_, SqliteMigrations(), "BEGIN IMMEDIATE"));
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
      SqlTransaction transaction(*reader);
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
    SqlTransaction transaction(*writer_);
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
