// The norms of a model: RMSNorm, with 1 added to the stored gain where the family has it so, or
// LayerNorm.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "engine/model/forward.h"

namespace quantd {

// Gain and bias of one norm; what is in `replaced` takes the place of what is stored.
absl::StatusOr<NormWeights> LoadNorm(const ModelSpec& model, const NormSpec& norm,
                                     const Checkpoint& checkpoint, const ReplacedNorms& replaced);

// y[rows, width] = norm(x); y may be x.
void RunNorm(const ModelSpec& model, const NormWeights& norm, const float* x, int64_t rows,
             int64_t width, Backend& backend, float* y);

}  // namespace quantd
