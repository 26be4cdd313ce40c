// A GGUF file but for the bytes of its tensors: names, keys, header, where each tensor lies.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/gguf/key_values.h"
#include "engine/tensor/tensor.h"
#include "engine/tensor/tensor_file.h"
#include "engine/types/model_spec.h"

namespace quantd {

// How `tensor` of the checkpoint is stored when it is not quantized: vectors, routers and positions
// in F32, the rest as it is. Nothing: the file has no place for it.
std::optional<TensorInfo> StoredInGguf(TensorInfo tensor, const ModelSpec& model);

// Header and places for `tensors`, which carry the names of the checkpoint; each is one that
// FindGgufName has. Places are in the order of `tensors`, the experts of a mixture side by side in
// one tensor; after them the factors of the rope as constants, if the model has such. INTERNAL for
// a tensor without a name or type in GGUF.
//
// Files hold at most `split_bytes` of data if they can; 0: there is one. Of several the first has
// all keys, and each says which it is; experts that are one tensor stay together.
absl::StatusOr<std::vector<LaidOutFile>> LayOutGguf(const ModelSpec& model,
                                                    std::span<const TensorInfo> tensors,
                                                    const KeyValues& keys, int64_t split_bytes = 0);

}  // namespace quantd
