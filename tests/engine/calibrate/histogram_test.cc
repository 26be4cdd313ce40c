#include "engine/calibrate/histogram.h"

#include <cmath>
#include <random>
#include <vector>

#include "gtest/gtest.h"

namespace quantd {
namespace {

std::vector<float> Values(uint32_t seed, float scale) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal(0, scale);
  std::vector<float> values(5000);
  for (float& value : values) value = normal(generator);
  return values;
}

TEST(HistogramTest, CountsEveryValueInItsBin) {
  const std::vector<float> values = Values(1, 3);
  Histogram histogram;
  histogram.Add(values.data(), static_cast<int64_t>(values.size()));
  EXPECT_EQ(histogram.total(), static_cast<int64_t>(values.size()));
  std::vector<int64_t> wanted(Histogram::kBins, 0);
  for (const float value : values) {
    const double bin = std::floor(static_cast<double>(value) / histogram.width());
    ++wanted[static_cast<size_t>(static_cast<int>(bin) + Histogram::kBins / 2)];
  }
  EXPECT_EQ(histogram.counts(), wanted);
}

TEST(HistogramTest, UsesAtLeastHalfOfOneSide) {
  const std::vector<float> values = {0.0F, 5.0F, -1.0F};
  Histogram histogram;
  histogram.Add(values.data(), 3);
  EXPECT_GE(5.0 / histogram.width(), Histogram::kBins / 4);
  EXPECT_LT(5.0 / histogram.width(), Histogram::kBins / 2);
}

TEST(HistogramTest, DependsOnNeitherOrderNorParts) {
  const std::vector<float> small = Values(2, 0.01F), large = Values(3, 100.0F);
  Histogram forward, backward, merged, part;
  forward.Add(small.data(), 5000);
  forward.Add(large.data(), 5000);
  backward.Add(large.data(), 5000);
  backward.Add(small.data(), 5000);
  merged.Add(small.data(), 5000);
  part.Add(large.data(), 5000);
  merged.Merge(part);
  EXPECT_EQ(forward, backward);
  EXPECT_EQ(forward, merged);
}

TEST(HistogramTest, HoldsPowersOfTwoAndTheirNegatives) {
  for (int exponent = -20; exponent < 20; ++exponent) {
    const float edge = std::ldexp(1.0F, exponent);
    const std::vector<float> values = {edge, -edge, std::nextafter(edge, 0.0F)};
    Histogram histogram;
    histogram.Add(values.data(), 3);
    EXPECT_EQ(histogram.total(), 3);
  }
}

}  // namespace
}  // namespace quantd
