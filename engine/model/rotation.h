// Orthogonal matrices that the residual stream of a model is turned by: QuaRot (arXiv 2404.00456),
// SpinQuant (arXiv 2405.16406). What they spread out has no outliers left to quantize around.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/statusor.h"

namespace quantd {

// R[n, n] with R R^T = 1. Values are rounded to f32 once, after sums in f64; the same bits on every
// machine whose compiler keeps to IEEE 754. Thread-safe.
class Rotation {
 public:
  // diag(signs) times a diagonal of k Hadamard matrices of 2^m, n = k 2^m and k odd: channels mix
  // within stretches of 2^m. The signs are drawn from `seed`. O(n m) per row. INVALID_FIELD for an
  // odd n, where nothing would mix.
  static absl::StatusOr<Rotation> Hadamard(int64_t width, uint64_t seed);
  // Any matrix[n, n], as learned. O(n^2) per row. INVALID_FIELD where it is not orthogonal within
  // 1e-4.
  static absl::StatusOr<Rotation> Dense(int64_t width, std::vector<float> matrix);

  int64_t width() const { return width_; }
  // The length of the stretches within which channels mix.
  int64_t mixed() const { return mixed_; }

  // x R for each of `count` rows of x[count, n], in place.
  void ApplyToRows(float* x, int64_t count) const;
  // R^T W of w[n, columns], in place: the rows of the weight that makes what is turned.
  void ApplyToColumns(float* w, int64_t columns) const;

 private:
  Rotation(int64_t width, int64_t mixed) : width_(width), mixed_(mixed) {}
  void Apply(std::span<double> row, std::vector<double>& scratch) const;
  bool IsOrthogonal() const;

  int64_t width_ = 0, mixed_ = 0;
  std::vector<double> signs_;  // of a Hadamard rotation, divided by sqrt(2^m)
  std::vector<float> matrix_;  // of a dense one
};

}  // namespace quantd
