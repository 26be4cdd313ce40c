#include "server/store/sqlite_store.h"

#include <gtest/gtest.h>

#include "server/store/schema.h"
#include "server/store/sqlite.h"
#include "tests/server/access_conformance.h"
#include "tests/server/store_conformance.h"

namespace quantd {
namespace {

struct Sqlite {
  static absl::StatusOr<std::unique_ptr<Store>> Open(const std::string& folder) {
    return OpenSqliteStore({.path = folder + "/quantd.db", .readers = 2});
  }
};

INSTANTIATE_TYPED_TEST_SUITE_P(Sqlite, StoreConformance, Sqlite);
INSTANTIATE_TYPED_TEST_SUITE_P(Sqlite, AccessConformance, Sqlite);

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
    for (size_t step = 0; step < kBefore; ++step) sql += Migrations()[step];
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
