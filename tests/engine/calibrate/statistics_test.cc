#include "engine/calibrate/statistics.h"

#include <cmath>
#include <random>
#include <vector>

#include "gtest/gtest.h"

namespace quantd {
namespace {

std::vector<float> Random(int64_t count, uint32_t seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal;
  std::vector<float> x(static_cast<size_t>(count));
  for (float& value : x) value = normal(generator);
  return x;
}

TEST(InputStatisticsTest, EqualsTheDefinition) {
  constexpr int64_t kTokens = 37, kChannels = 5;
  const std::vector<float> x = Random(kTokens * kChannels, 1);
  InputStatistics statistics(kChannels);
  statistics.Add(x.data(), kTokens);
  EXPECT_EQ(statistics.tokens, kTokens);
  for (int64_t k = 0; k < kChannels; ++k) {
    double sum_abs = 0, sum_squares = 0;
    float low = INFINITY, high = -INFINITY;
    for (int64_t t = 0; t < kTokens; ++t) {
      const float value = x[static_cast<size_t>(t * kChannels + k)];
      sum_abs += std::fabs(static_cast<double>(value));
      sum_squares += static_cast<double>(value) * static_cast<double>(value);
      low = std::min(low, value);
      high = std::max(high, value);
    }
    const auto at = static_cast<size_t>(k);
    EXPECT_DOUBLE_EQ(statistics.sum_abs[at], sum_abs);
    EXPECT_DOUBLE_EQ(statistics.sum_squares[at], sum_squares);
    EXPECT_EQ(statistics.min[at], low);
    EXPECT_EQ(statistics.max[at], high);
    EXPECT_EQ(statistics.max_abs[at], std::max(high, -low));
    EXPECT_FLOAT_EQ(statistics.MeanSquares()[at], static_cast<float>(sum_squares / kTokens));
  }
}

TEST(InputStatisticsTest, MergingPartsEqualsAddingAll) {
  constexpr int64_t kChannels = 7;
  const std::vector<float> x = Random(20 * kChannels, 2);
  InputStatistics all(kChannels), first(kChannels), second(kChannels);
  all.Add(x.data(), 20);
  first.Add(x.data(), 12);
  second.Add(x.data() + 12 * kChannels, 8);
  first.Merge(second);
  EXPECT_EQ(first.tokens, all.tokens);
  EXPECT_EQ(first.max_abs, all.max_abs);
  EXPECT_EQ(first.min, all.min);
  for (size_t k = 0; k < kChannels; ++k)
    EXPECT_NEAR(first.sum_squares[k], all.sum_squares[k], 1e-12);
}

TEST(InputStatisticsTest, WithoutTokensEveryChannelCountsTheSame) {
  EXPECT_EQ(InputStatistics(3).MeanSquares(), (std::vector<float>{1, 1, 1}));
}

}  // namespace
}  // namespace quantd
