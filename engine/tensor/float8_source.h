// Checkpoints whose weights are FP8 with scales beside them, as the tensors that they stand for.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "base/json.h"
#include "engine/tensor/tensor.h"

namespace quantd {

// What config.json says of such a checkpoint. Weights are codes times scales; the scale is called
// weight_scale_inv (DeepSeek, and transformers' "fp8" in blocks) or weight_scale, and multiplies
// under either name.
struct Float8Source {
  std::string description;     // for people: "fp8, blocks of 128 x 128"
  DType dtype = DType::kBF16;  // what weights are read as
  // Weights that share a scale; 0: the shapes of the scales say whether a row does, or a tensor.
  int64_t block_rows = 0, block_columns = 0;
};

// Understood are quant_method "fp8" and "fbgemm_fp8", and "compressed-tensors" where every group
// has float weights of 8 bits per tensor, channel or block. Nothing for a model that is not
// quantized, or in any other way: the parsers of the families refuse that by name. The type to read
// as is the model's own (torch_dtype): the product is rounded to it, as DeepSeek's
// fp8_cast_bf16.py does.
std::optional<Float8Source> ReadFloat8Source(const Json& config);

// Whether a tensor is of use only to the reader of FP8 weights or to who multiplies in FP8: scales
// of weights, of inputs and of the KV cache.
bool IsFloat8Companion(std::string_view name);

// How the scales of one weight lie.
struct Float8Scales {
  int64_t block_rows = 0, block_columns = 0;  // of weights under one scale
  int64_t per_row = 0;                        // scales of a row of blocks
};

// Reads the layout off the shapes of a weight [N, K] and its scales: [1] or none for the tensor,
// [N] or [N, 1] for channels, [ceil(N / rows), ceil(K / columns)] for blocks. `where` names the
// scales. MODEL_CORRUPT for any other, or scales that are no floats.
absl::StatusOr<Float8Scales> MeasureFloat8Scales(const TensorInfo& weight, const TensorInfo& scales,
                                                 const Float8Source& source,
                                                 const std::string& where);

}  // namespace quantd
