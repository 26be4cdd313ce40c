// Causal attention of one window.
#pragma once

#include "absl/status/status.h"
#include "engine/backend/backend.h"

namespace quantd {

// As Backend::Attention. Memory: a tile of scores, not tokens^2.
absl::Status CpuAttention(const float* q, const float* k, const float* v,
                          const AttentionShape& shape, ComputeType compute, float* out);

}  // namespace quantd
