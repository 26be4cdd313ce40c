#include "server/store/open_store.h"

#include <string_view>

#include "base/error.h"
#include "server/store/postgres_store.h"
#include "server/store/sqlite_store.h"

namespace quantd {
namespace {

constexpr std::string_view kSqlite = "sqlite";

bool IsPostgres(std::string_view uri) {
  return uri.starts_with("postgresql://") || uri.starts_with("postgres://");
}

// Arguments and configurations are seen by many; libpq reads PGPASSWORD and PGPASSFILE.
bool HasPassword(std::string_view uri) {
  const size_t begin = uri.find("://") + 3;
  const std::string_view user = uri.substr(begin, uri.find_first_of("@/?", begin) - begin);
  const bool at = begin + user.size() < uri.size() && uri[begin + user.size()] == '@';
  return (at && user.find(':') != user.npos) || uri.find("password=") != uri.npos;
}

}  // namespace

bool IsStoreUri(const std::string& uri) {
  return uri == kSqlite || (IsPostgres(uri) && !HasPassword(uri));
}

absl::StatusOr<std::unique_ptr<Store>> OpenStore(const std::string& uri,
                                                 const std::string& sqlite_path) {
  if (uri == kSqlite) return OpenSqliteStore({.path = sqlite_path});
  if (IsStoreUri(uri)) return OpenPostgresStore({.uri = uri});
  return MakeError(Reason::kInvalidField, "refused",
                   Violation{.where = "store",
                             .got = "no store, or one with a password",
                             .wanted = "sqlite, or postgresql://USER@HOST/DATABASE"});
}

}  // namespace quantd
