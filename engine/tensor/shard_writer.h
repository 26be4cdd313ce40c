// One safetensors file: its header, and where its tensors lie.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/tensor/tensor.h"
#include "engine/tensor/tensor_file.h"

namespace quantd {

class ShardWriter {
 public:
  // Writes the header, with {"format": "pt"} as __metadata__: transformers refuses files without.
  // The data section starts at a multiple of 64 bytes; tensors lie in the order given, unless one
  // would be misaligned: then those with larger elements come first. Errors: INTERNAL for tensors
  // that cannot be, those of creating a file.
  static absl::StatusOr<std::unique_ptr<TensorFile>> Create(
      const std::string& path, std::vector<TensorInfo> tensors,
      Durability durability = Durability::kSync);
  // The same file, but for its bytes. `name` is for errors.
  static absl::StatusOr<LaidOutFile> LayOut(const std::string& name,
                                            std::vector<TensorInfo> tensors);
};

}  // namespace quantd
