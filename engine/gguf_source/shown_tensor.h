// The tensors of a GGUF model under the names and in the shapes that a Hugging Face checkpoint has.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/gguf/gguf_parts.h"
#include "engine/tensor/tensor.h"
#include "engine/types/model_spec.h"

namespace quantd {

struct ShownTensor {
  TensorInfo info;  // as it is shown: F32 where the file has blocks, or another value (`added`)
  const BlockType* type = nullptr;  // as it is stored
  size_t part = 0;                  // of the model's files
  int64_t offset = 0;               // in that file
  std::vector<int32_t> places;      // row r is stored as row places[r]; empty: in order
  float added = 0;                  // to each value that is stored

  // Whether the bytes that are stored are those that are shown.
  bool as_stored() const { return type->layout == nullptr && added == 0; }
};

// Every tensor of `model`, whose config.json was made from these files. Errors: MODEL_CORRUPT for
// tensors that are missing or of another shape; MODEL_UNSUPPORTED for element types that we do not
// decode, and for tensors that the model has no use for: it would be another model without them.
absl::StatusOr<std::vector<ShownTensor>> ShowTensors(const ModelSpec& model,
                                                     std::span<const GgufPart> parts);

}  // namespace quantd
