// The store that a server was told to keep its jobs in.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "server/store/store.h"

namespace quantd {

// Whether `uri` can name a store: "sqlite", or "postgresql://…" without a password in it.
bool IsStoreUri(const std::string& uri);

// "sqlite": the file `sqlite_path`, made if missing. Errors: those of the store; INVALID_FIELD for
// a URI that names none.
absl::StatusOr<std::unique_ptr<Store>> OpenStore(const std::string& uri,
                                                 const std::string& sqlite_path);

}  // namespace quantd
