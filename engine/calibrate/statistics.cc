#include "engine/calibrate/statistics.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace quantd {

InputStatistics::InputStatistics(int64_t channels)
    : sum_abs(static_cast<size_t>(channels)),
      sum_squares(static_cast<size_t>(channels)),
      max_abs(static_cast<size_t>(channels)),
      min(static_cast<size_t>(channels), std::numeric_limits<float>::infinity()),
      max(static_cast<size_t>(channels), -std::numeric_limits<float>::infinity()) {}

void InputStatistics::Add(const float* x, int64_t rows) {
  const size_t width = sum_abs.size();
  for (int64_t row = 0; row < rows; ++row) {
    const float* values = x + static_cast<size_t>(row) * width;
    for (size_t k = 0; k < width; ++k) {
      const float value = values[k];
      const float magnitude = std::fabs(value);
      sum_abs[k] += static_cast<double>(magnitude);
      sum_squares[k] += static_cast<double>(value) * static_cast<double>(value);
      max_abs[k] = std::max(max_abs[k], magnitude);
      min[k] = std::min(min[k], value);
      max[k] = std::max(max[k], value);
    }
  }
  tokens += rows;
}

void InputStatistics::Merge(const InputStatistics& other) {
  for (size_t k = 0; k < sum_abs.size(); ++k) {
    sum_abs[k] += other.sum_abs[k];
    sum_squares[k] += other.sum_squares[k];
    max_abs[k] = std::max(max_abs[k], other.max_abs[k]);
    min[k] = std::min(min[k], other.min[k]);
    max[k] = std::max(max[k], other.max[k]);
  }
  tokens += other.tokens;
}

std::vector<float> InputStatistics::MeanSquares() const {
  std::vector<float> means(sum_squares.size(), 1.0F);
  if (tokens == 0) return means;
  for (size_t k = 0; k < means.size(); ++k) {
    means[k] = static_cast<float>(sum_squares[k] / static_cast<double>(tokens));
  }
  return means;
}

}  // namespace quantd
