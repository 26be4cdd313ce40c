// What is remembered of the inputs of a linear. Every field is a sum or an extremum, so statistics
// of two sets of tokens merge by addition, and can be saved and resumed.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace quantd {

// Which statistics somebody asks for. A union of needs is their `|`.
struct StatisticsNeeds {
  bool moments = false;  // mean |x|, mean x^2, max |x|, min, max per input channel
  bool any() const { return moments; }
  StatisticsNeeds operator|(StatisticsNeeds other) const {
    return {.moments = moments || other.moments};
  }
};

// Per input channel of one linear, K entries each.
struct InputStatistics {
  int64_t tokens = 0;
  std::vector<double> sum_abs, sum_squares;  // f64: sums over many tokens
  std::vector<float> max_abs, min, max;

  explicit InputStatistics(int64_t channels = 0);
  int64_t channels() const { return static_cast<int64_t>(sum_abs.size()); }
  // Adds `tokens` rows x[tokens, K]. Cost: one pass.
  void Add(const float* x, int64_t tokens);
  // Adds what another collected. Merging in a fixed order gives the same bits.
  void Merge(const InputStatistics& other);
  // sum_squares / tokens, the diagonal of X^T X / T; all ones when there are no tokens.
  std::vector<float> MeanSquares() const;
};

}  // namespace quantd
