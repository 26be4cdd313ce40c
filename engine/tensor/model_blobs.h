// A model in a blob store: the blobs below a prefix.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "blob/blob_store.h"
#include "engine/tensor/model_files.h"

namespace quantd {

// The files are the blobs "<prefix>/<name>"; what lies deeper belongs to somebody else. Errors:
// INVALID_FIELD for a prefix that is no blob name; MODEL_NOT_FOUND if nothing is below it.
absl::StatusOr<std::shared_ptr<const ModelFiles>> OpenModelBlobs(
    std::shared_ptr<const BlobStore> store, const std::string& prefix);

}  // namespace quantd
