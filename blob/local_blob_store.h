// A blob store in a local folder: one file per blob, moved into place by rename.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "blob/blob_store.h"

namespace quantd {

// The folder is made if missing; `folder` is absolute.
absl::StatusOr<std::unique_ptr<BlobStore>> OpenLocalBlobStore(const std::string& folder);

}  // namespace quantd
