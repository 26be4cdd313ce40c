// model.safetensors.index.json: which shard holds which tensor.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace quantd {

// Tensor name to shard name, every shard name a plain file name. `path` names the file in errors.
// Errors: MODEL_CORRUPT.
absl::StatusOr<std::map<std::string, std::string, std::less<>>> ParseShardIndex(
    std::string_view json, const std::string& path);

}  // namespace quantd
