// Bytes by name. Names look like "jobs/<id>/<fencing token>/model.safetensors": parts of
// [A-Za-z0-9._-] joined by '/', none of them "." or "..", at most 1024 characters.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/random_access_file.h"

namespace quantd {

// Thread-safe. A blob is immutable: once put it is there whole, and it never changes.
class BlobStore {
 public:
  virtual ~BlobStore() = default;

  // Stores the file `path` under `name`, durable when it returns. The file is consumed: moved where
  // the store can move, copied and removed elsewhere. A blob of that name is replaced.
  virtual absl::Status PutFile(std::string_view name, const std::string& path) = 0;
  // Stores the bytes of the file `path` under `name`; the file stays, and whoever has it replaces
  // it rather than write into it: a store in its file system keeps no second copy. The blob is
  // there whole or not at all, but a loss of power may take its bytes. For what is checked when it
  // is read, and can be made again.
  virtual absl::Status PutCopy(std::string_view name, const std::string& path) = 0;
  // The other way: makes the file `path`, in a folder that is there, of a blob. As careless, as
  // cheap.
  virtual absl::Status GetCopy(std::string_view name, const std::string& path) const = 0;
  // ARTIFACT_NOT_FOUND if there is none.
  virtual absl::StatusOr<std::unique_ptr<RandomAccessFile>> Open(std::string_view name) const = 0;
  // Names that begin with `prefix` (whole parts), sorted.
  virtual absl::StatusOr<std::vector<std::string>> List(std::string_view prefix) const = 0;
  // Removes every blob below `prefix` (whole parts). Removing nothing is fine.
  virtual absl::Status DeleteAll(std::string_view prefix) = 0;
};

// INVALID_FIELD for a name that breaks the rule above.
absl::Status CheckBlobName(std::string_view name);

// Opens the store at `uri`: "file:///absolute/folder", which is made if missing, or "s3://…"
// (s3_blob_store.h).
absl::StatusOr<std::unique_ptr<BlobStore>> OpenBlobStore(const std::string& uri);

}  // namespace quantd
