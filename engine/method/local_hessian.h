// ScaleRule::kHessian: the scale of a group judged by d^T H d, d its rounding error and H the
// group's own block of X^T X, so that errors which cancel in the output do not count.
#pragma once

#include <cstdint>
#include <span>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/calibrate/statistics.h"
#include "engine/method/registry.h"
#include "engine/tensor/tensor.h"

namespace quantd {

// Diagonal blocks of X^T X / tokens, 1 % of their mean diagonal added to the diagonal.
struct LocalHessian {
  int64_t size = 0;             // channels of a block, those of a group
  AlignedBuffer<float> values;  // [blocks][size, size]
  bool empty() const { return size == 0; }
  const float* Block(int64_t index) const { return values.data() + index * size * size; }

  // Blocks of `size` channels, as they lie in the order `channel_at` (empty: as they are); each
  // must lie within a block of the Gram matrix. INTERNAL when that was not gathered.
  static absl::StatusOr<LocalHessian> Of(const InputStatistics& statistics, int64_t size,
                                         std::span<const int32_t> channel_at,
                                         const MethodContext& context);
};

// The weights of one group in all rows of a panel, transposed: [size, rows].
struct GroupOfRows {
  const float* weights = nullptr;
  int64_t size = 0, rows = 0;
};

// Improves scales[rows] and zeros[rows], which hold what another rule chose: a grid around them,
// then refits to the codes; each row keeps its best. Never worse than what came in by this measure.
// About 2 * size^2 * rows flops per candidate (some twenty), as matrix products.
absl::Status ImproveScales(const GroupOfRows& group, const float* hessian, const Scheme& scheme,
                           const MethodContext& context, float* scales, float* zeros);

}  // namespace quantd
