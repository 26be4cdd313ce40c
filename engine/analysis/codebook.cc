#include "engine/analysis/codebook.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace quantd {
namespace {

constexpr int kMostIterations = 40;

// Values in ascending order and sums of what lies before each, so that a cluster costs O(1).
class SortedValues {
 public:
  SortedValues(std::span<const float> values, std::span<const float> weights)
      : values_(values.size()),
        weight_(values.size() + 1),
        first_(values.size() + 1),
        second_(values.size() + 1) {
    std::vector<uint32_t> order(values.size());
    std::iota(order.begin(), order.end(), 0U);
    std::stable_sort(order.begin(), order.end(),
                     [&](uint32_t a, uint32_t b) { return values[a] < values[b]; });
    // All weights zero tell nothing.
    const bool alike = weights.empty() || std::all_of(weights.begin(), weights.end(),
                                                      [](float weight) { return weight == 0; });
    for (size_t i = 0; i < order.size(); ++i) {
      values_[i] = values[order[i]];
      const double value = static_cast<double>(values_[i]);
      const double weight = alike ? 1.0 : static_cast<double>(weights[order[i]]);
      weight_[i + 1] = weight_[i] + weight;
      first_[i + 1] = first_[i] + weight * value;
      second_[i + 1] = second_[i] + weight * value * value;
    }
  }

  size_t size() const { return values_.size(); }
  double value(size_t i) const { return static_cast<double>(values_[i]); }
  // The first value above `bound`.
  size_t Above(double bound) const {
    return static_cast<size_t>(
        std::upper_bound(values_.begin(), values_.end(), bound,
                         [](double a, float b) { return a < static_cast<double>(b); }) -
        values_.begin());
  }
  // Of values [begin, end), not empty; the middle one where they weigh nothing.
  double Mean(size_t begin, size_t end) const {
    const double weight = weight_[end] - weight_[begin];
    return weight > 0 ? (first_[end] - first_[begin]) / weight : value((begin + end) / 2);
  }
  // Sum of weight (value - level)^2 over [begin, end).
  double Error(size_t begin, size_t end, double level) const {
    return (second_[end] - second_[begin]) - 2 * level * (first_[end] - first_[begin]) +
           level * level * (weight_[end] - weight_[begin]);
  }

 private:
  std::vector<float> values_;
  std::vector<double> weight_, first_, second_;
};

// Where the clusters of these levels end.
std::vector<size_t> EndsOf(const SortedValues& sorted, const std::vector<double>& levels) {
  std::vector<size_t> ends;
  for (size_t i = 0; i + 1 < levels.size(); ++i) {
    ends.push_back(sorted.Above((levels[i] + levels[i + 1]) / 2));
  }
  ends.push_back(sorted.size());
  return ends;
}

// Moves levels into the middle of their clusters until none changes. Returns the error.
double Settle(const SortedValues& sorted, std::vector<double>& levels) {
  std::vector<size_t> ends = EndsOf(sorted, levels);
  for (int iteration = 0; iteration < kMostIterations; ++iteration) {
    size_t begin = 0;
    for (size_t i = 0; i < levels.size(); ++i) {
      if (ends[i] > begin) levels[i] = sorted.Mean(begin, ends[i]);
      begin = ends[i];
    }
    std::vector<size_t> next = EndsOf(sorted, levels);
    if (next == ends) break;
    ends = std::move(next);
  }
  double error = 0;
  size_t begin = 0;
  for (size_t i = 0; i < levels.size(); ++i) {
    error += sorted.Error(begin, ends[i], levels[i]);
    begin = ends[i];
  }
  return error;
}

}  // namespace

const std::array<float, 16> kNf4Levels = {-1.0F,        -0.69619280F, -0.52507305F,  -0.39491749F,
                                          -0.28444138F, -0.18477343F, -0.091050036F, 0.0F,
                                          0.079580300F, 0.16093020F,  0.24611230F,   0.33791524F,
                                          0.44070983F,  0.56261700F,  0.72295684F,   1.0F};

void RoundToLevels(std::span<const float> values, std::span<const float> levels, float* to) {
  for (size_t i = 0; i < values.size(); ++i) {
    const auto above = std::lower_bound(levels.begin(), levels.end(), values[i]);
    if (above == levels.end()) {
      to[i] = levels.back();
    } else if (above == levels.begin()) {
      to[i] = levels.front();
    } else {
      const float below = *(above - 1);
      to[i] = values[i] - below <= *above - values[i] ? below : *above;
    }
  }
}

std::vector<float> KMeansLevels(std::span<const float> values, std::span<const float> weights,
                                int64_t count) {
  if (values.empty()) return {};
  const SortedValues sorted(values, weights);
  const auto levels = static_cast<size_t>(count);
  const double low = sorted.value(0), high = sorted.value(sorted.size() - 1);
  std::vector<double> counts, widths, between;
  for (size_t i = 0; i < levels; ++i) {
    const double at = (static_cast<double>(i) + 0.5) / static_cast<double>(levels);
    counts.push_back(sorted.value(static_cast<size_t>(at * static_cast<double>(sorted.size()))));
    widths.push_back(low + at * (high - low));
    between.push_back((counts.back() + widths.back()) / 2);
  }
  std::vector<double>* best = nullptr;
  double least = 0;
  for (std::vector<double>* start : {&counts, &widths, &between}) {
    const double error = Settle(sorted, *start);
    if (best != nullptr && !(error < least)) continue;
    least = error;
    best = start;
  }
  std::vector<float> chosen(best->begin(), best->end());
  chosen.erase(std::unique(chosen.begin(), chosen.end()), chosen.end());
  return chosen;
}

}  // namespace quantd
