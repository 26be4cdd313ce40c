#include "engine/calibrate/histogram.h"

#include <algorithm>
#include <cmath>

namespace quantd {
namespace {

constexpr int kHalf = Histogram::kBins / 2;

// The least exponent of a width at which kHalf bins reach beyond `magnitude`.
int ExponentFor(float magnitude) {
  int exponent = 0;
  (void)std::frexp(magnitude, &exponent);  // magnitude < 2^exponent
  return exponent - 10;                    // kHalf = 2^10
}

// Rounds down, for negative numbers too.
int HalfOf(int index) { return index >= 0 ? index / 2 : -((1 - index) / 2); }

}  // namespace

double Histogram::width() const { return std::ldexp(1.0, exponent_); }

int64_t Histogram::total() const {
  int64_t sum = 0;
  for (const int64_t count : counts_) sum += count;
  return sum;
}

void Histogram::WidenTo(int exponent) {
  for (; exponent_ < exponent; ++exponent_) {
    std::vector<int64_t> wide(kBins, 0);
    for (int i = 0; i < kBins; ++i) {
      wide[static_cast<size_t>(HalfOf(i - kHalf) + kHalf)] += counts_[static_cast<size_t>(i)];
    }
    counts_ = std::move(wide);
  }
}

void Histogram::Add(const float* values, int64_t count) {
  if (counts_.empty()) counts_.resize(kBins, 0);
  float most = 0;
  for (int64_t i = 0; i < count; ++i) most = std::max(most, std::fabs(values[i]));
  if (most > 0) WidenTo(ExponentFor(most));
  const float inverse = std::ldexp(1.0F, -exponent_);
  for (int64_t i = 0; i < count; ++i) {
    ++counts_[static_cast<size_t>(static_cast<int>(std::floor(values[i] * inverse)) + kHalf)];
  }
}

void Histogram::Merge(const Histogram& other) {
  if (other.empty()) return;
  if (empty()) {
    *this = other;
    return;
  }
  Histogram from = other;
  const int exponent = std::max(exponent_, from.exponent_);
  WidenTo(exponent);
  from.WidenTo(exponent);
  for (size_t i = 0; i < counts_.size(); ++i) counts_[i] += from.counts_[i];
}

}  // namespace quantd
