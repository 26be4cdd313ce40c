// Scale rule hessian: what it judges by gets better, group by group, and the output with it.

#include "engine/method/local_hessian.h"

#include <cmath>
#include <vector>

#include "engine/backend/rules.h"
#include "engine/method/round_to_nearest.h"
#include "gtest/gtest.h"
#include "tests/engine/method/calibrated_linear.h"
#include "tests/engine/method/method_context.h"

namespace quantd {
namespace {

Scheme SchemeOf(int bits, bool symmetric, ScaleRule rule, int64_t group_size) {
  Scheme scheme;
  scheme.method = "rtn";
  scheme.bits = bits;
  scheme.symmetric = symmetric;
  scheme.granularity = group_size > 0 ? Granularity::kGroup : Granularity::kChannel;
  scheme.group_size = group_size;
  scheme.scale_rule = rule;
  scheme.scale_dtype = DType::kBF16;
  return scheme;
}

QuantizedRows Rounded(const CalibratedLinear& linear, const Scheme& scheme) {
  QuantizedRows out;
  const auto prepared = PrepareRoundToNearest(scheme, &linear.statistics, TestContext());
  EXPECT_TRUE(prepared.ok()) << prepared.status();
  const absl::Status status =
      RoundToNearest(linear.Rows(), scheme, prepared->get(), TestContext(), &out);
  EXPECT_TRUE(status.ok()) << status;
  return out;
}

// d^T H d of one group of one row, H damped by 1 % as the rule has it.
double GroupError(const CalibratedLinear& linear, const QuantizedRows& rows, int64_t n,
                  int64_t group) {
  const int64_t size = rows.columns / rows.groups;
  std::vector<float> rounded(static_cast<size_t>(rows.columns));
  rows.Dequantize(n, rounded.data());
  double error = 0, energy = 0, plain = 0;
  for (int64_t i = group * size; i < (group + 1) * size; ++i) {
    const size_t a = static_cast<size_t>(i);
    const double left =
        static_cast<double>(linear.weights[static_cast<size_t>(n * rows.columns + i)] - rounded[a]);
    energy += linear.MeanSquare(a);
    plain += left * left;
    for (int64_t j = group * size; j < (group + 1) * size; ++j) {
      const size_t b = static_cast<size_t>(j);
      error += left * linear.MeanProduct(a, b) *
               static_cast<double>(linear.weights[static_cast<size_t>(n * rows.columns + j)] -
                                   rounded[b]);
    }
  }
  return error + 0.01 * energy / static_cast<double>(size) * plain;
}

TEST(LocalHessian, NoGroupLosesAndTheOutputGains) {
  const CalibratedLinear linear(16, 128, 600);
  for (const int64_t group_size : {16, 64, 0}) {
    for (const bool symmetric : {true, false}) {
      for (const int bits : {2, 3, 4, 8}) {
        SCOPED_TRACE(testing::Message() << group_size << " " << symmetric << " " << bits);
        const QuantizedRows weighted =
            Rounded(linear, SchemeOf(bits, symmetric, ScaleRule::kWeightedMse, group_size));
        const QuantizedRows judged =
            Rounded(linear, SchemeOf(bits, symmetric, ScaleRule::kHessian, group_size));
        double before = 0, after = 0;
        for (int64_t n = 0; n < 16; ++n) {
          for (int64_t g = 0; g < judged.groups; ++g) {
            const double was = GroupError(linear, weighted, n, g);
            const double is = GroupError(linear, judged, n, g);
            EXPECT_LE(is, was * 1.001 + 1e-12) << "row " << n << ", group " << g;
            before += was;
            after += is;
          }
        }
        EXPECT_LT(after, before * (bits == 8 ? 0.99 : 0.97));
        for (const float scale : judged.scales) {
          EXPECT_EQ(scale, rules::RoundScale(scale, DType::kBF16));
        }
      }
    }
  }
}

TEST(LocalHessian, AsksForTheBlocksOfItsGroups) {
  const StatisticsNeeds groups = RoundToNearestNeeds(SchemeOf(4, true, ScaleRule::kHessian, 32));
  EXPECT_EQ(groups.gram_block, 32);
  EXPECT_TRUE(groups.moments);
  EXPECT_EQ(RoundToNearestNeeds(SchemeOf(4, true, ScaleRule::kHessian, 0)).gram_block, kWholeGram);
  EXPECT_EQ(RoundToNearestNeeds(SchemeOf(4, true, ScaleRule::kWeightedMse, 32)).gram_block, 0);
}

TEST(LocalHessian, BlocksOfAWholeMatrixAreThoseOfItsDiagonal) {
  const CalibratedLinear linear(1, 64, 100);
  const auto local = LocalHessian::Of(linear.statistics, 16, {}, TestContext());
  ASSERT_TRUE(local.ok());
  EXPECT_NEAR(local->Block(2)[3 * 16 + 5], linear.MeanProduct(35, 37), 1e-5);
  InputStatistics nothing(64);
  EXPECT_FALSE(LocalHessian::Of(nothing, 16, {}, TestContext()).ok());
}

}  // namespace
}  // namespace quantd
