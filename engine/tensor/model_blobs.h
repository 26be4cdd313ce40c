// A model in a blob store: files that have names of their own there.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "blob/blob_store.h"
#include "engine/tensor/model_files.h"

namespace quantd {

// `location`: what people call the model. `blobs`: of each file of the model, its name in the
// store. MODEL_NOT_FOUND if there are none. Opens nothing yet: a blob that is not there is found
// out when it is opened.
absl::StatusOr<std::shared_ptr<const ModelFiles>> OpenModelBlobs(
    std::shared_ptr<const BlobStore> store, std::string location,
    std::map<std::string, std::string, std::less<>> blobs);

}  // namespace quantd
