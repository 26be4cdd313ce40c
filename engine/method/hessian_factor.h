// The Hessian of a linear ordered and factored: what all rows of GPTQ share.
#pragma once

#include <cstdint>
#include <span>

#include "absl/status/statusor.h"
#include "engine/method/damped_hessian.h"
#include "engine/method/registry.h"
#include "engine/tensor/lower_panels.h"
#include "engine/tensor/tensor.h"

namespace quantd {

// H = L D L^T over positions, L unit lower triangular, D diagonal.
struct HessianFactor {
  LowerPanels lower;   // L below the diagonal; the rest is not to be read
  double damping = 0;  // that it took: raised when a pivot was not positive
};

// Factors `hessian` in the order `channel_at` (channel at each position). When a pivot is not
// positive the damping is raised tenfold, three times at most; then
// DATASET_INVALID naming the damping tried last. Blocked Cholesky in f32, its diagonal blocks in
// f64; K^3 / 3 flops on context.pool, the same bits for any number of threads. The factor lies in
// context.scratch_folder if one is named.
absl::StatusOr<HessianFactor> Factor(DampedHessian hessian, std::span<const int32_t> channel_at,
                                     const MethodContext& context);

// The inverses of the diagonal blocks [size, size] of L, [K / size][size, size]; they tell what the
// columns of a block would become if errors made so far were made up for in all that is left.
absl::StatusOr<AlignedBuffer<float>> InverseBlocks(const LowerPanels& lower, int64_t size,
                                                   const MethodContext& context);

}  // namespace quantd
