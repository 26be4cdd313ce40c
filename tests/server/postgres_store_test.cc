#include "server/store/postgres_store.h"

#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <thread>

#include "absl/synchronization/notification.h"
#include "server/store/schema.h"
#include "tests/server/access_conformance.h"
#include "tests/server/postgres_server.h"
#include "tests/server/store_tasks_conformance.h"
#include "tests/server/upload_conformance.h"
#include "tests/server/webhook_conformance.h"

namespace quantd {
namespace {

struct Postgres {
  // A database for each folder.
  static absl::StatusOr<std::unique_ptr<Store>> Open(const std::string& folder) {
    PostgresServer* server = PostgresServer::Get();
    if (server == nullptr) return absl::NotFoundError("PostgreSQL is not installed");
    static std::map<std::string, std::string> databases;
    std::string& uri = databases[folder];
    if (uri.empty()) uri = server->NewDatabase();
    return OpenPostgresStore({.uri = uri, .readers = 2});
  }
};

INSTANTIATE_TYPED_TEST_SUITE_P(Postgres, StoreConformance, Postgres);
INSTANTIATE_TYPED_TEST_SUITE_P(Postgres, AccessConformance, Postgres);
INSTANTIATE_TYPED_TEST_SUITE_P(Postgres, StoreTasksConformance, Postgres);
INSTANTIATE_TYPED_TEST_SUITE_P(Postgres, UploadConformance, Postgres);
INSTANTIATE_TYPED_TEST_SUITE_P(Postgres, WebhookConformance, Postgres);

class PostgresStoreTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_NE(PostgresServer::Get(), nullptr) << "PostgreSQL is not installed: ./dev setup";
    uri_ = PostgresServer::Get()->NewDatabase();
  }
  std::unique_ptr<Store> Open() {
    auto store = OpenPostgresStore({.uri = uri_, .readers = 2});
    EXPECT_TRUE(store.ok()) << store.status();
    return *std::move(store);
  }
  static absl::Status AddToken(Store& store, const std::string& id) {
    return store.Write([&](StoreTransaction& transaction) {
      Token token;
      token.id = token.digest = token.name = id;
      token.tenant = "red";
      return transaction.InsertToken(token);
    });
  }
  static size_t Tokens(Store& store) {
    return ReadResult(store, [](StoreReader& reader) { return reader.ListTokens(); })->size();
  }

  std::string uri_;
};

TEST_F(PostgresStoreTest, ManyServersWriteAtOnceAndNothingIsLost) {
  constexpr int kServers = 4, kEach = 25;
  std::vector<std::thread> servers;
  std::atomic<int> failed = 0;
  for (int server = 0; server < kServers; ++server) {
    servers.emplace_back([&, server] {
      const auto store = Open();
      for (int i = 0; i < kEach; ++i) {
        if (!AddToken(*store, absl::StrCat(server, "-", i)).ok()) ++failed;
      }
    });
  }
  for (std::thread& server : servers) server.join();
  EXPECT_EQ(failed, 0);
  EXPECT_EQ(Tokens(*Open()), size_t{kServers * kEach});
}

TEST_F(PostgresStoreTest, OtherServersHearWhatIsAnnounced) {
  const auto one = Open(), other = Open();
  absl::Notification begun, came;
  std::atomic<int> own = 0;
  one->Listen([&](std::string_view topic) {
    if (topic == "job/own") ++own;
  });
  other->Listen([&](std::string_view topic) {
    if (topic.empty()) begun.Notify();
    if (topic == "job/x y") came.Notify();
  });
  begun.WaitForNotification();
  one->Announce({"job/own", "job/x y"});
  came.WaitForNotification();
  EXPECT_EQ(own, 0) << "what it announces itself it knows";
}

TEST_F(PostgresStoreTest, ADatabaseThatWasAwayIsFoundAgain) {
  const auto store = Open();
  ASSERT_TRUE(AddToken(*store, "before").ok());
  PostgresServer::Get()->Restart();
  EXPECT_EQ(Tokens(*store), 1u);
  EXPECT_TRUE(AddToken(*store, "after").ok());
  EXPECT_EQ(Tokens(*store), 2u);
}

TEST_F(PostgresStoreTest, WorkThatGoesOnAfterAFailedStatementIsNotCalledDone) {
  const auto store = Open();
  ASSERT_TRUE(AddToken(*store, "a").ok());
  const absl::Status status = store->Write([](StoreTransaction& transaction) {
    Token token;
    token.id = token.digest = token.name = "a";
    token.tenant = "red";
    EXPECT_EQ(ReasonOf(transaction.InsertToken(token)), Reason::kAlreadyExists);
    return absl::OkStatus();
  });
  EXPECT_EQ(ReasonOf(status), Reason::kInternal) << status;
}

TEST_F(PostgresStoreTest, ATextWithAZeroByteIsTheCallersFault) {
  const auto store = Open();
  const auto job = ReadResult(
      *store, [](StoreReader& reader) { return reader.GetJob(std::string_view("a\0b", 3)); });
  EXPECT_EQ(ReasonOf(job.status()), Reason::kInvalidField) << job.status();
}

TEST_F(PostgresStoreTest, TheUriSaysMoreThanOurDefaults) {
  auto connection = PostgresConnection::Open(uri_ + "&application_name=replica");
  ASSERT_TRUE(connection.ok()) << connection.status();
  auto show = (*connection)->Prepare("SELECT current_setting('application_name')");
  ASSERT_TRUE(*show->Step());
  EXPECT_EQ(show->Text(), "replica");
}

TEST_F(PostgresStoreTest, AServerThatIsGoneInATransactionGivesTheLockBack) {
  auto gone =
      PostgresConnection::Open(uri_ + "&options=-c%20idle_in_transaction_session_timeout%3D1s");
  const auto store = Open();
  ASSERT_TRUE(gone.ok()) << gone.status();
  ASSERT_TRUE((*gone)->Execute("BEGIN;SELECT pg_advisory_xact_lock(32196376)").ok());
  EXPECT_TRUE(AddToken(*store, "after").ok());

  auto plain = PostgresConnection::Open(uri_);
  ASSERT_TRUE(plain.ok()) << plain.status();
  auto limit = (*plain)->Prepare(
      "SELECT COUNT(*) FROM pg_settings WHERE setting <> '0' AND name IN "
      "('idle_in_transaction_session_timeout', 'lock_timeout')");
  ASSERT_TRUE(*limit->Step());
  EXPECT_EQ(limit->Int(), 2) << "every session has both limits";
}

TEST_F(PostgresStoreTest, ALockThatOthersHaveForLongIsGivenUpAndTriedAgain) {
  const auto store = OpenPostgresStore({.uri = uri_ + "&options=-c%20lock_timeout%3D100ms"});
  ASSERT_TRUE(store.ok()) << store.status();
  auto holder = PostgresConnection::Open(uri_);
  ASSERT_TRUE((*holder)->Execute("BEGIN;SELECT pg_advisory_xact_lock(32196376)").ok());
  EXPECT_EQ(ReasonOf(AddToken(**store, "a")), Reason::kUnavailable);
  ASSERT_TRUE((*holder)->Execute("COMMIT").ok());
  EXPECT_TRUE(AddToken(**store, "a").ok());
}

TEST_F(PostgresStoreTest, ADatabaseOfANewerQuantdIsRefused) {
  Open();
  {
    auto connection = PostgresConnection::Open(uri_);
    ASSERT_TRUE(connection.ok());
    ASSERT_TRUE((*connection)->Execute("INSERT INTO schema_version VALUES (1000)").ok());
  }
  EXPECT_EQ(ReasonOf(OpenPostgresStore({.uri = uri_}).status()), Reason::kWrongState);
}

TEST_F(PostgresStoreTest, WhereNoDatabaseIsItIsUnavailable) {
  const auto store = OpenPostgresStore({.uri = PostgresServer::Get()->UriOf("no_such_database")});
  EXPECT_EQ(ReasonOf(store.status()), Reason::kUnavailable) << store.status();
}

}  // namespace
}  // namespace quantd
