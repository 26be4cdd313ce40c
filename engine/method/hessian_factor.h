// The Hessian of the squared output error of a linear, ordered, damped and factored: what all rows
// of GPTQ share.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/calibrate/statistics.h"
#include "engine/method/registry.h"
#include "engine/tensor/tensor.h"

namespace quantd {

// H = sum over tokens of x x^T / tokens, with `damping` times the mean of its diagonal added to the
// diagonal. A channel that calibration never saw counts on its own, with the mean of the others.
struct DampedHessian {
  int64_t channels = 0;
  const Gram* gram = nullptr;   // whole; not owned
  double per_token = 1;         // 1 / tokens
  std::vector<float> diagonal;  // undamped, K
  double mean = 1;              // of the diagonal
  double damping = 0;

  // INTERNAL without tokens or without the whole Gram matrix.
  static absl::StatusOr<DampedHessian> Of(const InputStatistics& statistics, double damping);
  // Row channel_at[position] with its columns in the order of positions, to[K].
  void CopyRow(std::span<const int32_t> channel_at, int64_t position, float* to) const;
};

// H = L D L^T over positions, L unit lower triangular, D diagonal.
struct HessianFactor {
  // [K, K] row-major: L below the diagonal; the rest is not to be read.
  AlignedBuffer<float> lower;
  double damping = 0;  // that it took: raised when a pivot was not positive
};

// Factors `hessian` in the order `channel_at` (channel at each position). When a pivot is not
// positive the damping is raised tenfold, three times at most; then
// DATASET_INVALID naming the damping tried last. Blocked Cholesky in f32, its diagonal blocks in
// f64; K^3 / 3 flops on context.pool, the same bits for any number of threads.
absl::StatusOr<HessianFactor> Factor(DampedHessian hessian, std::span<const int32_t> channel_at,
                                     const MethodContext& context);

// The inverses of the diagonal blocks [size, size] of L, [K / size][size, size]; they tell what the
// columns of a block would become if errors made so far were made up for in all that is left.
absl::StatusOr<AlignedBuffer<float>> InverseBlocks(const float* lower, int64_t channels,
                                                   int64_t size, const MethodContext& context);

}  // namespace quantd
