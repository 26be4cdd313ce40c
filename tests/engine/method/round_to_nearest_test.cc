#include "engine/method/round_to_nearest.h"

#include <cmath>
#include <limits>

#include "base/error.h"
#include "engine/method/registry.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/engine/method/method_context.h"

namespace quantd {
namespace {

using ::testing::Each;
using ::testing::HasSubstr;

std::vector<float> Wave(int64_t count) {
  std::vector<float> values(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) {
    values[static_cast<size_t>(i)] = 0.1f * std::sin(0.7f * static_cast<float>(i * i % 101));
  }
  return values;
}

Scheme GroupScheme(ScaleRule rule) {
  Scheme scheme;
  scheme.method = "rtn";
  scheme.group_size = 32;
  scheme.scale_rule = rule;
  return scheme;
}

QuantizedRows Rounded(const WeightRows& rows, const Scheme& scheme,
                      const InputStatistics* statistics = nullptr) {
  QuantizedRows out;
  const auto prepared = PrepareRoundToNearest(scheme, statistics, TestContext());
  EXPECT_TRUE(prepared.ok());
  const absl::Status status = RoundToNearest(rows, scheme, prepared->get(), TestContext(), &out);
  EXPECT_TRUE(status.ok()) << status;
  return out;
}

TEST(RoundToNearest, PanelsOfRowsGiveWhatAllRowsGive) {
  const std::vector<float> weights = Wave(12 * 64);
  const WeightRows all = {weights.data(), DType::kF32, 12, 64};
  for (const ScaleRule rule : {ScaleRule::kAbsmax, ScaleRule::kMse}) {
    for (const bool symmetric : {true, false}) {
      Scheme scheme = GroupScheme(rule);
      scheme.symmetric = symmetric;
      const QuantizedRows whole = Rounded(all, scheme);
      EXPECT_EQ(whole.groups, 2);
      QuantizedRows joined;
      for (int64_t begin = 0; begin < 12; begin += 4) {
        const QuantizedRows part = Rounded(all.Slice(begin, 4), scheme);
        joined.codes.insert(joined.codes.end(), part.codes.begin(), part.codes.end());
        joined.scales.insert(joined.scales.end(), part.scales.begin(), part.scales.end());
        joined.zeros.insert(joined.zeros.end(), part.zeros.begin(), part.zeros.end());
      }
      EXPECT_EQ(joined.codes, whole.codes);
      EXPECT_EQ(joined.scales, whole.scales);
      EXPECT_EQ(joined.zeros, whole.zeros);
      EXPECT_EQ(whole.zeros.empty(), symmetric);
    }
  }
}

TEST(RoundToNearest, NarrowWeightsAreReadExactly) {
  const std::vector<float> weights = Wave(4 * 32);
  std::vector<uint16_t> narrow(weights.size());
  NarrowFromF32(weights.data(), 128, DType::kBF16, narrow.data());
  std::vector<float> widened(weights.size());
  WidenToF32(narrow.data(), DType::kBF16, 128, widened.data());
  const QuantizedRows from_bf16 =
      Rounded({narrow.data(), DType::kBF16, 4, 32}, GroupScheme(ScaleRule::kMse));
  const QuantizedRows from_f32 =
      Rounded({widened.data(), DType::kF32, 4, 32}, GroupScheme(ScaleRule::kMse));
  EXPECT_EQ(from_bf16.codes, from_f32.codes);
  EXPECT_EQ(from_bf16.scales, from_f32.scales);
}

TEST(RoundToNearest, ScalesFitTheirStoredType) {
  const std::vector<float> weights = Wave(4 * 32);
  for (const DType dtype : {DType::kBF16, DType::kF16}) {
    Scheme scheme = GroupScheme(ScaleRule::kMse);
    scheme.scale_dtype = dtype;
    const QuantizedRows rows = Rounded({weights.data(), DType::kF32, 4, 32}, scheme);
    std::vector<uint16_t> stored(rows.scales.size());
    std::vector<float> back(rows.scales.size());
    NarrowFromF32(rows.scales.data(), static_cast<int64_t>(stored.size()), dtype, stored.data());
    WidenToF32(stored.data(), dtype, static_cast<int64_t>(stored.size()), back.data());
    EXPECT_EQ(back, rows.scales);
  }
}

TEST(RoundToNearest, OneScaleForATensor) {
  std::vector<float> weights = Wave(6 * 40);
  weights[217] = -7.5f;
  Scheme scheme = GroupScheme(ScaleRule::kAbsmax);
  scheme.granularity = Granularity::kTensor;
  scheme.group_size = 0;
  const QuantizedRows rows = Rounded({weights.data(), DType::kF32, 6, 40}, scheme);
  EXPECT_EQ(rows.groups, 1);
  EXPECT_THAT(rows.scales, Each(1.0f));
  EXPECT_EQ(rows.codes[217], -8);
}

TEST(RoundToNearest, NamesTheRowAndColumnThatIsNotFinite) {
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    std::vector<float> weights = Wave(6 * 40);
    weights[3 * 40 + 17] = bad;
    for (const Granularity granularity : {Granularity::kChannel, Granularity::kTensor}) {
      Scheme scheme = GroupScheme(ScaleRule::kAbsmax);
      scheme.granularity = granularity;
      scheme.group_size = 0;
      QuantizedRows out;
      const absl::Status status = RoundToNearest({weights.data(), DType::kF32, 6, 40}, scheme,
                                                 nullptr, TestContext(), &out);
      EXPECT_EQ(ReasonOf(status), Reason::kModelNotFinite);
      EXPECT_THAT(std::string(status.message()), HasSubstr("row 3, column 17"));
    }
  }
}

TEST(RoundToNearest, ImportanceCountsOnlyWithTheWeightedRule) {
  const std::vector<float> weights = Wave(4 * 32);
  std::vector<float> x(32, 0.01f);
  x[5] = 30;
  InputStatistics statistics(32);
  statistics.Add(x.data(), 1);
  const WeightRows rows = {weights.data(), DType::kF32, 4, 32};
  EXPECT_EQ(Rounded(rows, GroupScheme(ScaleRule::kMse), &statistics).scales,
            Rounded(rows, GroupScheme(ScaleRule::kMse)).scales);
  const QuantizedRows plain = Rounded(rows, GroupScheme(ScaleRule::kMse));
  const QuantizedRows weighted = Rounded(rows, GroupScheme(ScaleRule::kWeightedMse), &statistics);
  double plain_error = 0, weighted_error = 0;
  for (size_t n = 0; n < 4; ++n) {
    const auto error = [&](const QuantizedRows& result) {
      const size_t at = n * 32 + 5;
      return std::pow(weights[at] - static_cast<float>(result.codes[at]) * result.scales[n], 2);
    };
    plain_error += error(plain);
    weighted_error += error(weighted);
  }
  EXPECT_LT(weighted_error, plain_error / 2);
}

TEST(Importance, HasMeanOneAndNoZeros) {
  InputStatistics statistics(4);
  const std::vector<float> x = {0, 1, 2, 3};
  statistics.Add(x.data(), 1);
  const std::vector<float> importance = ImportanceOf(statistics);
  double sum = 0;
  for (const float h : importance) {
    EXPECT_GT(h, 0);
    sum += static_cast<double>(h);
  }
  EXPECT_NEAR(sum, 4, 1e-5);
  EXPECT_NEAR(importance[3] / importance[1], 9, 0.4);
  EXPECT_THAT(ImportanceOf(InputStatistics(4)), Each(1.0f));
  InputStatistics silent(4);
  const std::vector<float> zeros(4, 0.0f);
  silent.Add(zeros.data(), 1);
  EXPECT_THAT(ImportanceOf(silent), Each(1.0f));
}

}  // namespace
}  // namespace quantd
