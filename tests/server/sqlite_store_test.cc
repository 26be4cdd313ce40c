#include "server/store/sqlite_store.h"

#include <gtest/gtest.h>

#include "absl/time/clock.h"
#include "server/store/schema.h"
#include "server/store/sqlite.h"
#include "tests/server/access_conformance.h"
#include "tests/server/store_tasks_conformance.h"
#include "tests/server/upload_conformance.h"
#include "tests/server/webhook_conformance.h"

namespace quantd {
namespace {

struct Sqlite {
  static absl::StatusOr<std::unique_ptr<Store>> Open(const std::string& folder) {
    return OpenSqliteStore({.path = folder + "/quantd.db", .readers = 2});
  }
};

INSTANTIATE_TYPED_TEST_SUITE_P(Sqlite, StoreConformance, Sqlite);
INSTANTIATE_TYPED_TEST_SUITE_P(Sqlite, AccessConformance, Sqlite);
INSTANTIATE_TYPED_TEST_SUITE_P(Sqlite, StoreTasksConformance, Sqlite);
INSTANTIATE_TYPED_TEST_SUITE_P(Sqlite, UploadConformance, Sqlite);
INSTANTIATE_TYPED_TEST_SUITE_P(Sqlite, WebhookConformance, Sqlite);

// A database as the program before the last step of the schema left it.
void MakeOlder(const std::string& folder, size_t steps, const char* rows) {
  auto connection =
      SqliteConnection::Open(folder + "/quantd.db", SqliteConnection::Access::kReadWrite);
  ASSERT_TRUE(connection.ok()) << connection.status();
  ASSERT_TRUE((*connection)->Execute("CREATE TABLE schema_version (version INTEGER)").ok());
  for (size_t step = 0; step < steps; ++step) {
    ASSERT_TRUE((*connection)->Execute(SqliteMigrations()[step]).ok());
    ASSERT_TRUE(
        (*connection)
            ->Execute("INSERT INTO schema_version VALUES (" + std::to_string(step + 1) + ")")
            .ok());
  }
  const absl::Status filled = (*connection)->Execute(rows);
  ASSERT_TRUE(filled.ok()) << filled;
}

TEST(SqliteStoreTest, OpensADatabaseOfTheThirdVersion) {
  const auto folder = TemporaryFolder::Create("older");
  ASSERT_TRUE(folder.ok());
  MakeOlder(folder->path(), 3, R"sql(
INSERT INTO jobs (id, state, method, model, create_time, attempts, last_sequence, worker, labels,
                  spec, plan, progress, result)
  VALUES ('waits', 0, 'rtn', '/m', 5, 0, 0, '', '{}', x'', x'', x'', x''),
         ('runs', 1, 'rtn', '/m', 6, 1, 0, 'w', '{}', x'', x'', x'', x'');
INSERT INTO tasks (id, job, job_id, state, priority, queued_time, fencing_token, failures, backend,
                   memory_bytes, max_run_time)
  VALUES ('waits-1', 1, 'waits', 0, 3, 5, 0, 0, 'any', 0, 1000000),
         ('runs-1', 2, 'runs', 1, 0, 6, 1, 0, 'any', 0, 1000000);
INSERT INTO leases VALUES ('runs-1', 'runs', 'w', 's', 1, 9000000, 4, 1);
INSERT INTO workers VALUES ('w', 's', 7, 'cpu', 2, 1, 1, '0.1.0', 'avx2', 0);
)sql");
  const auto store = Sqlite::Open(folder->path());
  ASSERT_TRUE(store.ok()) << store.status();
  const absl::Status read = (*store)->Read([](StoreReader& reader) -> absl::Status {
    QD_ASSIGN_OR_RETURN(const auto tenants, reader.PendingTenants("any"));
    EXPECT_EQ(tenants, std::vector<std::string>{kDefaultTenant});
    QD_ASSIGN_OR_RETURN(const auto tasks, reader.PendingTasks("any", kDefaultTenant, 0, 9));
    EXPECT_EQ(tasks.size(), 1u);
    EXPECT_EQ(tasks[0].priority, 3);
    EXPECT_TRUE(tasks[0].failed_attempts.empty());
    QD_ASSIGN_OR_RETURN(const int64_t waiting, reader.CountPendingTasksOf(kDefaultTenant));
    EXPECT_EQ(waiting, 1);
    QD_ASSIGN_OR_RETURN(const auto running, reader.CountRunningTasks());
    EXPECT_EQ(running.at(kDefaultTenant), 1);
    QD_ASSIGN_OR_RETURN(const auto lease, reader.FindLease("runs-1"));
    EXPECT_EQ(lease->acknowledged_event, 4);
    QD_ASSIGN_OR_RETURN(const auto stuck, reader.StuckLeases(absl::Now(), 9));
    EXPECT_TRUE(stuck.empty()) << "a lease of before is not stuck";
    QD_ASSIGN_OR_RETURN(const auto worker, reader.FindWorker("w"));
    EXPECT_FALSE(worker->drain_asked);
    return absl::OkStatus();
  });
  EXPECT_TRUE(read.ok()) << read;
}

TEST(SqliteStoreTest, RefusesADatabaseOfANewerProgram) {
  const auto folder = TemporaryFolder::Create("newer");
  ASSERT_TRUE(folder.ok());
  ASSERT_TRUE(Sqlite::Open(folder->path()).ok());
  {
    auto connection =
        SqliteConnection::Open(folder->path() + "/quantd.db", SqliteConnection::Access::kReadWrite);
    ASSERT_TRUE(connection.ok());
    ASSERT_TRUE((*connection)->Execute("INSERT INTO schema_version VALUES (1000)").ok());
  }
  EXPECT_EQ(ReasonOf(Sqlite::Open(folder->path()).status()), Reason::kWrongState);
}

// The steps up to the one that brought tenants, with a job and a request of before.
TEST(SqliteStoreTest, JobsAndRequestsOfBeforeThereWereTenantsAreTheDefaultOnes) {
  constexpr size_t kBefore = 3;
  const auto folder = TemporaryFolder::Create("older");
  ASSERT_TRUE(folder.ok());
  {
    auto connection =
        SqliteConnection::Open(folder->path() + "/quantd.db", SqliteConnection::Access::kReadWrite);
    ASSERT_TRUE(connection.ok());
    std::string sql = "CREATE TABLE schema_version (version INTEGER NOT NULL);";
    for (size_t step = 0; step < kBefore; ++step) sql += SqliteMigrations()[step];
    sql +=
        "INSERT INTO schema_version VALUES (3);"
        "INSERT INTO jobs (id, state, method, model, create_time, attempts, last_sequence, worker, "
        "labels, spec, plan, progress, result) "
        "VALUES ('old', 0, 'rtn', '/m', 1, 0, 0, '', '{}', '', '', '', '');"
        "INSERT INTO requests VALUES ('r', 1, 'old', 'd');";
    const absl::Status made = (*connection)->Execute(sql);
    ASSERT_TRUE(made.ok()) << made;
  }
  const auto store = Sqlite::Open(folder->path());
  ASSERT_TRUE(store.ok()) << store.status();
  const absl::Status read = (*store)->Read([](StoreReader& reader) -> absl::Status {
    QD_ASSIGN_OR_RETURN(const Job job, reader.GetJobIn(TenantScope::One(kDefaultTenant), "old"));
    EXPECT_EQ(job.tenant, kDefaultTenant);
    QD_ASSIGN_OR_RETURN(const auto request, reader.FindRequest(kDefaultTenant, "r"));
    EXPECT_TRUE(request.has_value());
    return absl::OkStatus();
  });
  EXPECT_TRUE(read.ok()) << read;
}

TEST(SqliteStoreTest, SaysWhereItCannotOpen) {
  const auto store = OpenSqliteStore({.path = "/nowhere/at/all/quantd.db"});
  EXPECT_FALSE(store.ok());
  EXPECT_NE(store.status().message().find("/nowhere/at/all"), absl::string_view::npos);
}

}  // namespace
}  // namespace quantd
