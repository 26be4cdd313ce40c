#include "engine/analysis/codebook.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>

#include "gtest/gtest.h"

namespace quantd {
namespace {

double Cost(std::span<const float> values, std::span<const float> weights,
            std::span<const float> levels) {
  double cost = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    double least = std::numeric_limits<double>::infinity();
    for (const float level : levels) {
      const double error = static_cast<double>(values[i]) - static_cast<double>(level);
      least = std::min(least, error * error);
    }
    cost += least * static_cast<double>(weights[i]);
  }
  return cost;
}

// The least cost of `count` clusters, by dynamic programming over all ends of all clusters.
double Optimum(std::vector<float> values, std::vector<float> weights, int64_t count) {
  std::vector<size_t> order(values.size());
  std::iota(order.begin(), order.end(), 0U);
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return values[a] < values[b]; });
  const auto cluster = [&](size_t begin, size_t end) {
    double sum = 0, weight = 0, cost = 0;
    for (size_t i = begin; i < end; ++i) {
      const double w = static_cast<double>(weights[order[i]]);
      sum += w * static_cast<double>(values[order[i]]);
      weight += w;
    }
    for (size_t i = begin; i < end && weight > 0; ++i) {
      const double error = static_cast<double>(values[order[i]]) - sum / weight;
      cost += static_cast<double>(weights[order[i]]) * error * error;
    }
    return cost;
  };
  std::vector<double> best(values.size() + 1, std::numeric_limits<double>::infinity());
  best[0] = 0;
  for (int64_t c = 0; c < count; ++c) {
    std::vector<double> next(best.size(), std::numeric_limits<double>::infinity());
    next[0] = 0;
    for (size_t end = 1; end < best.size(); ++end) {
      for (size_t begin = 0; begin < end; ++begin) {
        next[end] = std::min(next[end], best[begin] + cluster(begin, end));
      }
    }
    best = std::move(next);
  }
  return best.back();
}

// Quantile of the standard normal distribution, by bisection.
double Quantile(double probability) {
  double low = -10, high = 10;
  for (int i = 0; i < 200; ++i) {
    const double middle = (low + high) / 2;
    (0.5 * std::erfc(-middle / std::sqrt(2.0)) < probability ? low : high) = middle;
  }
  return low;
}

TEST(CodebookTest, Nf4IsQuantilesOfTheNormalDistribution) {
  // The paper's construction: 8 quantiles above zero and 7 below, evenly spaced in probability from
  // an offset to one half, divided by the largest.
  const double offset = 0.9677083;
  const double most = Quantile(offset);
  for (int i = 0; i < 8; ++i) {
    const double probability = offset + (0.5 - offset) * i / 8;
    EXPECT_NEAR(kNf4Levels[static_cast<size_t>(15 - i)], Quantile(probability) / most, 1e-6) << i;
  }
  for (int i = 0; i < 7; ++i) {
    const double probability = offset + (0.5 - offset) * i / 7;
    EXPECT_NEAR(kNf4Levels[static_cast<size_t>(i)], -Quantile(probability) / most, 1e-6) << i;
  }
  EXPECT_EQ(kNf4Levels[7], 0.0F);
}

TEST(CodebookTest, RoundsToTheNearestLevel) {
  const std::vector<float> levels = {-1, 0, 0.5, 2};
  const std::vector<float> values = {-7, -0.6F, -0.4F, 0.2F, 0.3F, 1.2F, 1.3F, 9, -0.5F};
  std::vector<float> rounded(values.size());
  RoundToLevels(values, levels, rounded.data());
  EXPECT_EQ(rounded, (std::vector<float>{-1, -1, 0, 0, 0.5, 0.5, 2, 2, -1}));
}

TEST(CodebookTest, KMeansIsNearTheOptimum) {
  std::mt19937 generator(3);
  std::normal_distribution<float> normal;
  double sum = 0;
  constexpr int kGroups = 60;
  for (int group = 0; group < kGroups; ++group) {
    std::vector<float> values(32), weights(32);
    for (float& value : values) value = normal(generator);
    for (float& weight : weights) weight = std::exp(normal(generator));
    if (group % 2 == 0) std::fill(weights.begin(), weights.end(), 1.0F);
    const int64_t count = group % 3 == 0 ? 8 : 4;
    const auto levels = KMeansLevels(values, weights, count);
    ASSERT_LE(levels.size(), static_cast<size_t>(count));
    EXPECT_TRUE(std::is_sorted(levels.begin(), levels.end()));
    const double optimum = Optimum(values, weights, count);
    const double ratio = Cost(values, weights, levels) / optimum;
    EXPECT_GE(ratio, 1 - 1e-5);
    EXPECT_LE(ratio, 2.0);
    sum += ratio;
  }
  EXPECT_LE(sum / kGroups, 1.12);
}

TEST(CodebookTest, KMeansOfFewValuesIsExact) {
  const std::vector<float> values = {3, 1, 3, 1, 2};
  EXPECT_EQ(KMeansLevels(values, {}, 4), (std::vector<float>{1, 2, 3}));
  const std::vector<float> same = {5, 5, 5};
  EXPECT_EQ(KMeansLevels(same, {}, 16), (std::vector<float>{5}));
  // What weighs nothing moves nothing.
  const std::vector<float> weights = {1, 0, 1, 0, 0};
  const auto weighted = KMeansLevels(values, weights, 4);
  EXPECT_LT(Cost(values, weights, weighted), 1e-12);
  const std::vector<float> nothing = {0, 0, 0, 0, 0};
  EXPECT_EQ(KMeansLevels(values, nothing, 4), KMeansLevels(values, {}, 4));
}

}  // namespace
}  // namespace quantd
