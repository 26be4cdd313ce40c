// The iteration as written, and what is made of it where the shrink operator cannot act.

#include "engine/method/half_quadratic.h"

#include <cmath>
#include <random>
#include <vector>

#include "gtest/gtest.h"

namespace quantd {
namespace {

constexpr int64_t kGroup = 64;

std::vector<float> Gaussian(uint64_t seed, float deviation) {
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal(0, deviation);
  std::vector<float> values(kGroup);
  for (float& value : values) value = normal(random);
  return values;
}

TEST(HalfQuadratic, MeansAreTheIterationWhereNoResidualReachesTheThreshold) {
  for (const bool weighted : {false, true}) {
    for (const int most : {1, 2, 3, 7, 15}) {
      for (uint64_t seed = 0; seed < 50; ++seed) {
        const std::vector<float> weights = Gaussian(seed, 0.02f);
        std::vector<float> importance = Gaussian(seed + 1000, 1.0f);
        for (float& h : importance) h *= h;
        const GroupWeights group = {weights.data(), weighted ? importance.data() : nullptr, kGroup};
        HalfQuadratic options;
        options.updates.keep_best = weighted;
        ZeroLine literal = LineOfRange(group, most, most == 15), closed = literal;
        std::vector<double> literal_errors(20, 0.0), closed_errors(20, 0.0);
        UpdateZeroLiterally(group, most, options, &literal, literal_errors.data());
        UpdateZero(group, most, options, CpuKernels().real_zero, &closed, closed_errors.data());
        EXPECT_NEAR(closed.zero, literal.zero, 2e-4 * most) << most << ", seed " << seed;
        for (size_t i = 0; i < 20; ++i) {
          EXPECT_NEAR(closed_errors[i], literal_errors[i], 1e-3 * literal_errors[i]);
        }
      }
    }
  }
}

TEST(HalfQuadratic, LargeResidualsAreShrunkAndNotAveraged) {
  const std::vector<float> weights = Gaussian(3, 2.0f);
  const GroupWeights group = {weights.data(), nullptr, kGroup};
  const HalfQuadratic options;
  const ZeroLine start = LineOfRange(group, 1, false);
  ZeroLine literal = start, chosen = start, means = start;
  UpdateZeroLiterally(group, 1, options, &literal, nullptr);
  UpdateZero(group, 1, options, CpuKernels().real_zero, &chosen, nullptr);
  CpuKernels().real_zero.update_zero(weights.data(), nullptr, kGroup, start.inverse, 1,
                                     options.updates, &means.zero, nullptr);
  EXPECT_EQ(chosen.zero, literal.zero);
  EXPECT_GT(std::fabs(means.zero - literal.zero), 1e-3);
}

TEST(HalfQuadratic, TheThresholdIsWhereShrinkingLeavesNothing) {
  HalfQuadratic options;
  for (const double beta : {1.0, 10.0, 100.0}) {
    const double at = ShrinkThreshold(options, beta);
    EXPECT_NEAR(at - std::pow(at, options.norm - 1) / beta, 0, 1e-12);
  }
  EXPECT_NEAR(ShrinkThreshold(options, 10), 0.170, 5e-4);
}

TEST(HalfQuadratic, TheUpdateThatMadeItWorseIsStillMade) {
  EXPECT_EQ(UpdatesUntilWorse(std::vector<double>{3, 2, 1}), 3);
  EXPECT_EQ(UpdatesUntilWorse(std::vector<double>{3, 2, 2, 1}), 3);
  EXPECT_EQ(UpdatesUntilWorse(std::vector<double>{3, 4, 1, 0}), 2);
}

TEST(HalfQuadratic, StartsFromTheRangeAsTheReference) {
  const std::vector<float> weights = {-1, 0, 0.5f, 2};
  const ZeroLine line = LineOfRange({weights.data(), nullptr, 4}, 15, false);
  EXPECT_FLOAT_EQ(line.inverse, 5);
  EXPECT_FLOAT_EQ(line.zero, 5);
  const std::vector<float> alike(4, 0.25f);
  EXPECT_EQ(LineOfRange({alike.data(), nullptr, 4}, 15, false).inverse, 1);
}

}  // namespace
}  // namespace quantd
