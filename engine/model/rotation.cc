#include "engine/model/rotation.h"

#include <algorithm>
#include <cmath>
#include <random>
#include <string>
#include <utility>

#include "base/error.h"

namespace quantd {
namespace {

// The values of v[count] times the Hadamard matrix of that size (Sylvester's), not normalized.
void WalshHadamard(double* v, int64_t count) {
  for (int64_t half = 1; half < count; half *= 2) {
    for (int64_t begin = 0; begin < count; begin += 2 * half) {
      for (int64_t i = begin; i < begin + half; ++i) {
        const double sum = v[i] + v[i + half];
        v[i + half] = v[i] - v[i + half];
        v[i] = sum;
      }
    }
  }
}

int64_t PowerOfTwoIn(int64_t width) { return width & -width; }

// +1 or -1, by the bits of a generator whose output the C++ standard fixes.
std::vector<double> Signs(int64_t count, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<double> signs(static_cast<size_t>(count));
  for (double& sign : signs) sign = (random() >> 63) == 0 ? 1 : -1;
  return signs;
}

}  // namespace

absl::StatusOr<Rotation> Rotation::Hadamard(int64_t width, uint64_t seed) {
  const int64_t mixed = width > 0 ? PowerOfTwoIn(width) : 0;
  if (mixed < 2) {
    return MakeError(
        Reason::kInvalidField, "no Hadamard rotation",
        Violation{
            .where = "width", .got = std::to_string(width), .wanted = "a width that 2 divides"});
  }
  Rotation rotation(width, mixed);
  rotation.signs_ = Signs(width, seed);
  for (double& sign : rotation.signs_) sign /= std::sqrt(static_cast<double>(mixed));
  return rotation;
}

absl::StatusOr<Rotation> Rotation::Dense(int64_t width, std::vector<float> matrix) {
  const bool square = width > 0 && static_cast<int64_t>(matrix.size()) == width * width;
  Rotation rotation(width, width);
  rotation.matrix_ = std::move(matrix);
  if (square && rotation.IsOrthogonal()) return rotation;
  return MakeError(
      Reason::kInvalidField, "no rotation",
      Violation{
          .where = "matrix",
          .got = square ? "R R^T is not 1" : std::to_string(rotation.matrix_.size()) + " values",
          .wanted = "an orthogonal matrix of " + std::to_string(width) + " rows and columns"});
}

// By probes, z R R^T = z, as all products of its rows would take O(n^3): a matrix that is not
// orthogonal passes for a set of z of measure zero.
bool Rotation::IsOrthogonal() const {
  constexpr uint64_t kProbes = 4;
  constexpr double kTolerance = 1e-4;
  const auto n = static_cast<size_t>(width_);
  std::vector<double> scratch;
  for (uint64_t probe = 0; probe < kProbes; ++probe) {
    const std::vector<double> z = Signs(width_, probe);
    std::vector<double> turned = z;
    Apply(turned, scratch);
    for (size_t i = 0; i < n; ++i) {
      double back = 0;
      for (size_t j = 0; j < n; ++j) back += turned[j] * static_cast<double>(matrix_[i * n + j]);
      if (!(std::abs(back - z[i]) <= kTolerance)) return false;  // NaN too
    }
  }
  return true;
}

void Rotation::Apply(std::span<double> row, std::vector<double>& scratch) const {
  if (matrix_.empty()) {
    for (size_t i = 0; i < row.size(); ++i) row[i] *= signs_[i];
    for (int64_t i = 0; i < width_; i += mixed_) WalshHadamard(row.data() + i, mixed_);
    return;
  }
  scratch.assign(row.begin(), row.end());
  std::fill(row.begin(), row.end(), 0.0);
  for (size_t i = 0; i < row.size(); ++i) {
    const float* from = matrix_.data() + i * row.size();
    for (size_t j = 0; j < row.size(); ++j) row[j] += scratch[i] * static_cast<double>(from[j]);
  }
}

void Rotation::ApplyToRows(float* x, int64_t count) const {
  std::vector<double> row(static_cast<size_t>(width_)), scratch;
  for (int64_t n = 0; n < count; ++n, x += width_) {
    std::copy_n(x, width_, row.data());
    Apply(row, scratch);
    for (int64_t k = 0; k < width_; ++k) x[k] = static_cast<float>(row[static_cast<size_t>(k)]);
  }
}

void Rotation::ApplyToColumns(float* w, int64_t columns) const {
  // Some columns at a time, as a cache line has several.
  constexpr int64_t kTogether = 16;
  const auto n = static_cast<size_t>(width_);
  std::vector<double> panel(n * kTogether), scratch;
  for (int64_t begin = 0; begin < columns; begin += kTogether) {
    const auto count = static_cast<size_t>(std::min(kTogether, columns - begin));
    float* first = w + begin;
    for (size_t i = 0; i < n; ++i) {
      const float* from = first + static_cast<int64_t>(i) * columns;
      for (size_t c = 0; c < count; ++c) panel[c * n + i] = static_cast<double>(from[c]);
    }
    for (size_t c = 0; c < count; ++c) Apply(std::span(panel).subspan(c * n, n), scratch);
    for (size_t i = 0; i < n; ++i) {
      float* to = first + static_cast<int64_t>(i) * columns;
      for (size_t c = 0; c < count; ++c) to[c] = static_cast<float>(panel[c * n + i]);
    }
  }
}

}  // namespace quantd
