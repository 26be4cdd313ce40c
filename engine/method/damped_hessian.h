// The Hessian of the squared output error of a linear.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/calibrate/statistics.h"
#include "engine/method/registry.h"

namespace quantd {

// H = sum over tokens of x x^T / tokens, with `damping` times the mean of its diagonal added to the
// diagonal. A channel that calibration never saw counts on its own, with the mean of the others.
struct DampedHessian {
  int64_t channels = 0;
  const LowerPanels* gram = nullptr;  // not owned
  double per_token = 1;               // 1 / tokens
  std::vector<float> diagonal;        // undamped, K
  double mean = 1;                    // of the diagonal
  double damping = 0;

  // INTERNAL without tokens or without the whole Gram matrix.
  static absl::StatusOr<DampedHessian> Of(const InputStatistics& statistics, double damping);
  // What is added to the diagonal at a channel.
  float Added(int64_t channel) const;
  float At(int64_t i, int64_t j) const;
  // Row channel_at[position], its columns in the order of positions, as far as the diagonal:
  // to[position + 1].
  void CopyRow(std::span<const int32_t> channel_at, int64_t position, float* to) const;
  // The Gram matrix with rows and columns in the order `channel_at`, in context.scratch_folder if
  // one is named; and this with it in the place of its own, channels meaning positions.
  absl::StatusOr<LowerPanels> GramInOrder(std::span<const int32_t> channel_at,
                                          const MethodContext& context) const;
  DampedHessian InOrder(std::span<const int32_t> channel_at, const LowerPanels& ordered) const;
  // A matrix with as many rows as some channels of H.
  struct Rows {
    const float* values = nullptr;  // [count, width]
    int64_t first = 0, count = 0;   // channels
  };
  // to[count, width] = alpha H[begin .. begin + count, the channels of right] right + beta to.
  absl::Status Multiply(int64_t begin, int64_t count, Rows right, int64_t width, float alpha,
                        float beta, const MethodContext& context, float* to) const;
};

}  // namespace quantd
