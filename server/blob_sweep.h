// Blobs that nobody will ask for.
#pragma once

#include "absl/status/status.h"
#include "blob/blob_store.h"
#include "server/store/store.h"

namespace quantd {

// Removes what lies in the blob store for jobs that are gone, and for attempts that are over and
// whose files the job does not hold: the server may have died between a commit and the removal, and
// a worker that lost its lease may have written after it. What the attempt under way has written
// stays. May run at any time beside everything else: the token of an attempt that is over is never
// given again.
absl::Status SweepBlobs(Store& store, BlobStore& blobs);

}  // namespace quantd
