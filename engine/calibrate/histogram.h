// How often values of which size came: bins of one width, a power of two, that doubles when a value
// lies outside. Exact to merge and independent of the order of values.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

namespace quantd {

class Histogram {
 public:
  static constexpr int kBins = 2048;  // half of them below zero

  Histogram() = default;
  // As another had them: kBins counts of at least 0.
  Histogram(int exponent, std::vector<int64_t> counts)
      : exponent_(exponent), counts_(std::move(counts)) {}

  // Adds `count` finite values.
  void Add(const float* values, int64_t count);
  void Merge(const Histogram& other);

  bool empty() const { return counts_.empty(); }
  // Of one bin: bin i holds [(i - kBins / 2) * width, (i + 1 - kBins / 2) * width). 2^exponent.
  double width() const;
  int exponent() const { return exponent_; }
  const std::vector<int64_t>& counts() const { return counts_; }
  int64_t total() const;

  bool operator==(const Histogram&) const = default;

 private:
  // Doubles the width until it is 2^exponent.
  void WidenTo(int exponent);

  int exponent_ = -30;
  std::vector<int64_t> counts_;
};

}  // namespace quantd
