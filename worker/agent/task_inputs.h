// The uploads that a task reads, as files of its scratch folder.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "blob/blob_store.h"
#include "engine/types/request.h"
#include "quantd/v1/worker_service.pb.h"

namespace quantd {

// Lays the assignment's inputs out below `folder`, without a copy where the blob store is in the
// same file system, and lets `request`, which is made of the assignment's spec, find them there.
// Errors: those of the blob store; UPLOAD_CORRUPT for a blob of another size than was told.
absl::Status FetchInputs(const BlobStore& blobs, const v1::TaskAssignment& assignment,
                         const std::string& folder, QuantizeRequest& request);

}  // namespace quantd
