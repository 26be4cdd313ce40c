// The store in PostgreSQL, for several servers over one queue.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "server/store/store.h"

namespace quantd {

struct PostgresStoreOptions {
  std::string uri;  // "postgresql://user@host/database"; passwords: PGPASSWORD, PGPASSFILE
  int readers = 4;  // connections for Read
};

// Makes or upgrades the tables. Writers of all servers take turns, by an advisory lock; a
// transaction that meets another one all the same is run again. A connection that is lost is made
// anew at the next call; until the database is back, calls are UNAVAILABLE. Errors: those of
// connecting; WRONG_STATE for a database of a newer quantd.
absl::StatusOr<std::unique_ptr<Store>> OpenPostgresStore(const PostgresStoreOptions& options);

}  // namespace quantd
