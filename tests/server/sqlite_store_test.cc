#include "server/store/sqlite_store.h"

#include <gtest/gtest.h>

#include "server/store/sqlite.h"
#include "tests/server/store_conformance.h"

namespace quantd {
namespace {

struct Sqlite {
  static absl::StatusOr<std::unique_ptr<Store>> Open(const std::string& folder) {
    return OpenSqliteStore({.path = folder + "/quantd.db", .readers = 2});
  }
};

INSTANTIATE_TYPED_TEST_SUITE_P(Sqlite, StoreConformance, Sqlite);

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

TEST(SqliteStoreTest, SaysWhereItCannotOpen) {
  const auto store = OpenSqliteStore({.path = "/nowhere/at/all/quantd.db"});
  EXPECT_FALSE(store.ok());
  EXPECT_NE(store.status().message().find("/nowhere/at/all"), absl::string_view::npos);
}

}  // namespace
}  // namespace quantd
