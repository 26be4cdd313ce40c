// Rounding rows to blocks of a file format by search alone.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "engine/method/registry.h"
#include "engine/tensor/block_type.h"

namespace quantd {

// How a scale rule looks for the contents of blocks, and whether it weighs errors.
BlockSearch SearchOf(ScaleRule rule);

// Method::quantize with Scheme::block: each block by itself, weighted by prepared->importance where
// there is one. MODEL_NOT_FINITE naming row and column.
absl::Status RoundToBlocks(const WeightRows& weight, const Scheme& scheme, const Prepared* prepared,
                           const MethodContext& context, QuantizedRows* out);

// Rounds weights[count], whole blocks of scheme.block, and gives the sum of h e^2 with e = rounded
// - weight; `errors`, where not null, gets every e. The search weighs by `importance` if the
// scheme's rule does.
double BlockRoundingError(const Scheme& scheme, const float* weights, const float* importance,
                          int64_t count, float* errors);

}  // namespace quantd
