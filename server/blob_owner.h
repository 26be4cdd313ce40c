// Which store the blobs of a blob store are of. A server that is started with the blobs of one
// service and the store of another would sweep away everything that its store does not know.
#pragma once

#include "absl/status/status.h"
#include "blob/blob_store.h"
#include "server/store/store.h"

namespace quantd {

// Marks the blobs as this store's, if they are nobody's yet. WRONG_STATE if they are another's.
// Before anything is swept. `scratch`: a folder for a small file.
absl::Status ClaimBlobs(Store& store, BlobStore& blobs, const std::string& scratch);

}  // namespace quantd
