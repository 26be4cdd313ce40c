#include "server/store/postgres_store.h"

#include <atomic>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "server/id.h"
#include "server/store/migrate.h"
#include "server/store/postgres.h"
#include "server/store/schema.h"
#include "server/store/sql_transaction.h"

namespace quantd {
namespace {

// Any number that nobody else takes: the first bytes of "quantd".
constexpr char kBeginWrite[] = "BEGIN;SELECT pg_advisory_xact_lock(32196376)";
constexpr char kBeginRead[] = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
constexpr char kChannel[] = "quantd";
constexpr int kMostRuns = 10;
constexpr absl::Duration kReconnectEvery = absl::Seconds(1);
// An announcement that got lost is made good by then.
constexpr absl::Duration kLookEvery = absl::Seconds(5);

class PostgresStore final : public Store {
 public:
  static absl::StatusOr<std::unique_ptr<Store>> Open(const PostgresStoreOptions& options) {
    auto store = std::make_unique<PostgresStore>();
    store->uri_ = options.uri;
    QD_ASSIGN_OR_RETURN(store->writer_, PostgresConnection::Open(options.uri));
    QD_RETURN_IF_ERROR(Migrate(*store->writer_, PostgresMigrations(), kBeginWrite));
    QD_ASSIGN_OR_RETURN(store->announcer_, PostgresConnection::Open(options.uri));
    for (int i = 0; i < options.readers; ++i) {
      QD_ASSIGN_OR_RETURN(auto reader, PostgresConnection::Open(options.uri));
      store->idle_readers_.push_back(std::move(reader));
    }
    return std::unique_ptr<Store>(std::move(store));
  }

  ~PostgresStore() override { StopListening(); }

  absl::Status Read(const std::function<absl::Status(StoreReader&)>& work) override {
    std::unique_ptr<PostgresConnection> reader = TakeReader();
    absl::Status status = Begin(*reader, kBeginRead);
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
    absl::Status status;
    for (int run = 0; run < kMostRuns; ++run) {
      QD_RETURN_IF_ERROR(Begin(*writer_, kBeginWrite));
      SqlTransaction transaction(*writer_);
      status = work(transaction);
      if (status.ok()) status = writer_->Commit();
      if (status.ok()) return status;
      writer_->Execute("ROLLBACK").IgnoreError();
      if (!MetAnotherTransaction(status)) return status;
    }
    return status;
  }

  void Announce(const std::vector<std::string>& topics) override {
    absl::MutexLock lock(&announcer_mutex_);
    for (const std::string& topic : topics) {
      // What is lost here the others find when they look.
      const absl::Status told = Tell(absl::StrCat(self_, " ", topic));
      if (!told.ok()) {
        spdlog::warn("cannot tell other servers of {}: {}", topic, std::string(told.message()));
        return;
      }
    }
  }

  void Listen(std::function<void(std::string_view topic)> heard) override {
    listener_ = std::thread([this, heard = std::move(heard)] { ListenUntilTheEnd(heard); });
  }
  void StopListening() override {
    stopping_ = true;
    if (listener_.joinable()) listener_.join();
  }

 private:
  // A connection that was lost since its last use is made anew, once: who calls does not wait long
  // for a database that is away.
  static absl::Status Begin(PostgresConnection& connection, const char* begin) {
    const bool known = connection.lost();
    if (known) QD_RETURN_IF_ERROR(connection.Reconnect());
    absl::Status begun = connection.Execute(begin);
    // A lock that others have for too long stops it half-way. Where not even this is answered the
    // connection is gone; libpq may not call it lost yet.
    if (begun.ok() || connection.Execute("ROLLBACK").ok() || known) return begun;
    QD_RETURN_IF_ERROR(connection.Reconnect());
    begun = connection.Execute(begin);
    if (!begun.ok()) connection.Execute("ROLLBACK").IgnoreError();
    return begun;
  }

  absl::Status Tell(const std::string& payload) ABSL_EXCLUSIVE_LOCKS_REQUIRED(announcer_mutex_) {
    if (announcer_->lost()) QD_RETURN_IF_ERROR(announcer_->Reconnect());
    QD_ASSIGN_OR_RETURN(SqlStatement notify, announcer_->Prepare("SELECT pg_notify(?, ?)"));
    return notify.Bind(std::string_view(kChannel)).Bind(std::string_view(payload)).Run();
  }

  void ListenUntilTheEnd(const std::function<void(std::string_view topic)>& heard) {
    while (!stopping_) {
      const absl::Status ended = ListenOnce(heard);
      if (stopping_) return;
      spdlog::warn("cannot hear other servers: {}", std::string(ended.message()));
      absl::SleepFor(kReconnectEvery);
    }
  }

  absl::Status ListenOnce(const std::function<void(std::string_view topic)>& heard) {
    QD_ASSIGN_OR_RETURN(const auto connection, PostgresConnection::Open(uri_));
    QD_RETURN_IF_ERROR(connection->Execute(absl::StrCat("LISTEN ", kChannel)));
    absl::Time look = absl::InfinitePast();  // at whatever was said while nobody listened
    while (!stopping_) {
      if (absl::Now() >= look) {
        look = absl::Now() + kLookEvery;
        heard("");
      }
      std::string payload;
      QD_ASSIGN_OR_RETURN(const bool came, connection->WaitForNotification(payload));
      const size_t space = payload.find(' ');
      if (!came || space == std::string::npos || payload.substr(0, space) == self_) continue;
      heard(std::string_view(payload).substr(space + 1));
    }
    return absl::OkStatus();
  }

  std::unique_ptr<PostgresConnection> TakeReader() {
    absl::MutexLock lock(&readers_mutex_);
    readers_mutex_.Await(absl::Condition(
        +[](std::vector<std::unique_ptr<PostgresConnection>>* idle) { return !idle->empty(); },
        &idle_readers_));
    std::unique_ptr<PostgresConnection> reader = std::move(idle_readers_.back());
    idle_readers_.pop_back();
    return reader;
  }

  std::string uri_;
  const std::string self_ = NewId();  // in what this server announces, which it does not hear
  absl::Mutex writer_mutex_;
  std::unique_ptr<PostgresConnection> writer_;
  absl::Mutex announcer_mutex_;
  std::unique_ptr<PostgresConnection> announcer_;
  absl::Mutex readers_mutex_;
  std::vector<std::unique_ptr<PostgresConnection>> idle_readers_;
  std::atomic<bool> stopping_ = false;
  std::thread listener_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Store>> OpenPostgresStore(const PostgresStoreOptions& options) {
  return PostgresStore::Open(options);
}

}  // namespace quantd
