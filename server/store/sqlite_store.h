// The store on SQLite: one file, write-ahead log, synchronous=FULL (an acknowledged write survives
// a power failure).
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "server/store/store.h"

namespace quantd {

struct SqliteStoreOptions {
  std::string path;  // of the database file; made if missing
  int readers = 4;   // connections that read at the same time
};

// Opens and, if needed, migrates the database. A database of a newer quantd is refused.
absl::StatusOr<std::unique_ptr<Store>> OpenSqliteStore(const SqliteStoreOptions& options);

}  // namespace quantd
