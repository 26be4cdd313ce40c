// gptq against a plain f64 reading of the paper's recursion, and what it promises beside.

#include "engine/method/gptq.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "base/error.h"
#include "engine/backend/rules.h"
#include "engine/method/gptq_panel.h"
#include "engine/method/hessian_factor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/engine/method/calibrated_linear.h"
#include "tests/engine/method/method_context.h"
#include "tests/engine/method/textbook_hessian.h"

namespace quantd {
namespace {

using ::testing::HasSubstr;

Scheme GptqScheme(const CalibratedLinear& linear, int bits, int64_t group_size, bool symmetric,
                  Options options = {}, ScaleRule rule = ScaleRule::kAbsmax) {
  SchemeRequest request;
  request.bits = bits;
  request.group_size = group_size;
  request.symmetric = symmetric;
  request.scale_rule = rule;
  request.options = std::move(options);
  if (!request.options.values().contains("refit")) request.options.Set("refit", int64_t{0});
  const auto scheme = kGptq.resolve(request, linear.spec, DType::kF32);
  EXPECT_TRUE(scheme.ok()) << scheme.status();
  return *scheme;
}

QuantizedRows Quantized(const CalibratedLinear& linear, const Scheme& scheme) {
  return Quantized(kGptq, linear, scheme);
}

// Channels in the order in which they are rounded.
std::vector<size_t> Turns(const CalibratedLinear& linear, const std::string& order, size_t group) {
  std::vector<size_t> turns(static_cast<size_t>(linear.spec.in_features));
  std::iota(turns.begin(), turns.end(), 0u);
  const auto louder = [&](size_t a, size_t b) {
    return linear.MeanSquare(a) > linear.MeanSquare(b);
  };
  if (order == "static") std::stable_sort(turns.begin(), turns.end(), louder);
  if (order != "group-aware") return turns;
  std::vector<std::vector<size_t>> groups;
  for (size_t at = 0; at < turns.size(); at += group) {
    groups.emplace_back(turns.begin() + static_cast<int64_t>(at),
                        turns.begin() + static_cast<int64_t>(at + group));
    std::sort(groups.back().begin(), groups.back().end(), louder);
  }
  std::sort(groups.begin(), groups.end(),
            [&](const auto& a, const auto& b) { return louder(a[0], b[0]); });
  turns.clear();
  for (const auto& part : groups) turns.insert(turns.end(), part.begin(), part.end());
  return turns;
}

// The recursion of the paper, one row: codes by channel.
std::vector<int8_t> TextbookRow(const std::vector<double>& row, const Matrix& upper,
                                const std::vector<size_t>& turns, const Scheme& scheme,
                                size_t group, bool scales_first) {
  std::vector<double> weights(row.size());
  for (size_t i = 0; i < turns.size(); ++i) weights[i] = row[turns[i]];
  std::vector<int8_t> codes(row.size());
  std::vector<rules::ScaleZero> chosen(row.size() / group, {0, 0});
  const auto choose = [&](const std::vector<double>& of) {
    double low = 0, high = 0;
    for (const double weight : of) {
      low = std::min(low, weight);
      high = std::max(high, weight);
    }
    if (!scheme.symmetric) {
      return rules::MinMaxAsymmetric(static_cast<float>(low), static_cast<float>(high), scheme.bits,
                                     DType::kF32);
    }
    return rules::AbsmaxSymmetric(static_cast<float>(std::max(-low, high)), scheme.bits,
                                  DType::kF32);
  };
  for (size_t g = 0; scales_first && g < chosen.size(); ++g) {
    chosen[g] = choose({row.begin() + static_cast<int64_t>(g * group),
                        row.begin() + static_cast<int64_t>((g + 1) * group)});
  }
  for (size_t i = 0; i < turns.size(); ++i) {
    rules::ScaleZero& scale = chosen[turns[i] / group];
    if (scale.scale == 0) {
      scale = choose({weights.begin() + static_cast<int64_t>(i),
                      weights.begin() + static_cast<int64_t>(i + group)});
    }
    const rules::Steps steps = rules::StepsOf(scheme.bits, scale.zero);
    const float step = rules::StepOf(static_cast<float>(weights[i]), scale.scale, steps);
    codes[turns[i]] = static_cast<int8_t>(step + static_cast<float>(scale.zero));
    const double error =
        (weights[i] - static_cast<double>(step) * static_cast<double>(scale.scale)) / upper[i][i];
    for (size_t j = i; j < turns.size(); ++j) weights[j] -= error * upper[i][j];
  }
  return codes;
}

struct TextbookCase {
  std::string order;
  bool symmetric;
  int bits;
  int64_t group_size;
};

class GptqTextbook : public ::testing::TestWithParam<TextbookCase> {};

// LDLQ and the recursion through the inverse are the same thing in exact arithmetic. In f32 a
// weight may fall between two codes either way, and what follows it in its row a little off: 99 %
// of the codes must be equal, and the error of the output within 0.5 %.
TEST_P(GptqTextbook, CodesAreThoseOfTheRecursion) {
  const TextbookCase& param = GetParam();
  const CalibratedLinear linear(24, 192, 700);
  const Scheme scheme = GptqScheme(linear, param.bits, param.group_size, param.symmetric,
                                   With("act_order", param.order));
  const size_t group =
      static_cast<size_t>(param.group_size > 0 ? param.group_size : linear.spec.in_features);
  const std::vector<size_t> turns = Turns(linear, param.order, group);
  const Matrix upper = UpperFactorOfInverse(TextbookHessian(linear, turns, 0.01));
  QuantizedRows got = Quantized(linear, scheme), wanted = got;
  size_t equal = 0;
  for (size_t n = 0; n < static_cast<size_t>(got.rows); ++n) {
    const auto row = linear.weights.begin() + static_cast<int64_t>(n) * got.columns;
    const std::vector<int8_t> codes =
        TextbookRow({row, row + got.columns}, upper, turns, scheme, group, param.order == "static");
    for (size_t k = 0; k < codes.size(); ++k) {
      equal += codes[k] == got.codes[n * codes.size() + k] ? 1 : 0;
      wanted.codes[n * codes.size() + k] = codes[k];
    }
  }
  EXPECT_GE(static_cast<double>(equal), 0.99 * static_cast<double>(got.codes.size()));
  EXPECT_NEAR(linear.OutputError(got) / linear.OutputError(wanted), 1.0, 0.005);
}

INSTANTIATE_TEST_SUITE_P(Orders, GptqTextbook,
                         ::testing::Values(TextbookCase{"none", true, 4, 64},
                                           TextbookCase{"none", false, 3, 16},
                                           TextbookCase{"static", false, 4, 48},
                                           TextbookCase{"static", true, 2, 64},
                                           TextbookCase{"group-aware", true, 3, 24},
                                           TextbookCase{"group-aware", false, 2, 64},
                                           TextbookCase{"group-aware", false, 4, 0}));

TEST(Gptq, LosesLessThanRounding) {
  const CalibratedLinear linear(32, 256, 900);
  for (const int bits : {2, 3, 4}) {
    const Scheme scheme = GptqScheme(linear, bits, 64, true, {}, ScaleRule::kWeightedMse);
    Scheme plain = scheme;
    plain.method = "rtn";
    QuantizedRows rounded;
    const Method& rtn = *FindMethod("rtn");
    const auto prepared = rtn.prepare(plain, &linear.statistics, TestContext());
    ASSERT_TRUE(rtn.quantize(linear.Rows(), plain, prepared->get(), TestContext(), &rounded).ok());
    EXPECT_LT(linear.OutputError(Quantized(linear, scheme)), 0.8 * linear.OutputError(rounded))
        << bits << " bits";
  }
}

// An order of columns, and what at most the first sweep leaves of the error.
struct RefitCase {
  std::string order;
  double left;
};

class GptqRefit : public ::testing::TestWithParam<RefitCase> {};

TEST_P(GptqRefit, EverySweepLowersTheError) {
  const CalibratedLinear linear(32, 256, 900);
  for (const int64_t group : {16, 64, 256}) {
    for (const bool symmetric : {true, false}) {
      SCOPED_TRACE(group);
      double before = INFINITY;
      for (const int64_t sweeps : {0, 1, 2, 8}) {
        Options options = With("refit", sweeps);
        options.Set("act_order", GetParam().order);
        const double error = linear.OutputError(Quantized(
            linear, GptqScheme(linear, 3, group, symmetric, options, ScaleRule::kWeightedMse)));
        // What is lowered is the damped error: the last sweeps may change this one a little.
        EXPECT_LT(error, before * 1.001) << sweeps << " sweeps";
        before = std::min(before, sweeps == 0 ? error * GetParam().left : error);
      }
    }
  }
}

// Groups of alike channels leave less to refit.
INSTANTIATE_TEST_SUITE_P(Orders, GptqRefit,
                         ::testing::Values(RefitCase{"group-aware", 0.97},
                                           RefitCase{"desc-act", 0.99}),
                         [](const auto& info) {
                           return info.param.order == "desc-act" ? "descAct" : "groupAware";
                         });

TEST(Gptq, ScalesAreStoredAsTheModelStoresThem) {
  const CalibratedLinear linear(8, 128, 400);
  Scheme scheme = GptqScheme(linear, 3, 32, true, With("refit", int64_t{2}), ScaleRule::kHessian);
  scheme.scale_dtype = DType::kBF16;
  for (const float scale : Quantized(linear, scheme).scales) {
    EXPECT_EQ(scale, rules::RoundScale(scale, DType::kBF16));
  }
}

TEST(Gptq, TheSameBytesForAnyNumberOfThreads) {
  const CalibratedLinear linear(8, 1200, 1500);
  const Scheme scheme = GptqScheme(linear, 3, 48, true);
  std::vector<QuantizedRows> results;
  for (const int threads : {1, 2, 5}) {
    ThreadPool pool(threads);
    const MethodContext context = {pool, **FindBackend("cpu"), CpuKernels()};
    const auto prepared = kGptq.prepare(scheme, &linear.statistics, context);
    ASSERT_TRUE(prepared.ok());
    ASSERT_TRUE(
        kGptq.quantize(linear.Rows(), scheme, prepared->get(), context, &results.emplace_back())
            .ok());
  }
  for (const QuantizedRows& result : results) {
    EXPECT_EQ(result.codes, results[0].codes);
    EXPECT_EQ(result.scales, results[0].scales);
  }
}

double DampingOf(const Prepared& prepared) {
  for (const auto& [name, value] : prepared.figures) {
    if (name == "damping") return value;
  }
  return -1;
}

TEST(Gptq, ChannelsThatWereNeverSeenAreRoundedAsTheyAre) {
  CalibratedLinear linear(4, 64, 300, /*silent=*/5);
  const QuantizedRows rows = Quantized(linear, GptqScheme(linear, 8, 64, true));
  std::vector<float> row(64);
  for (int64_t n = 0; n < 4; ++n) {
    rows.Dequantize(n, row.data());
    EXPECT_NEAR(row[5], linear.weights[static_cast<size_t>(n * 64 + 5)],
                std::fabs(rows.scales[static_cast<size_t>(n)]) * 0.501f);
  }
}

TEST(Gptq, DampingIsRaisedUntilTheMatrixCanBeFactored) {
  CalibratedLinear linear(4, 64, 300);
  // Not a Gram matrix: two channels more alike than alike.
  Gram& gram = linear.statistics.gram;
  gram.Set(3, 2, 1.05f * std::sqrt(gram.At(3, 3) * gram.At(2, 2)));
  const Scheme scheme = GptqScheme(linear, 4, 64, true);
  const auto prepared = kGptq.prepare(scheme, &linear.statistics, TestContext());
  ASSERT_TRUE(prepared.ok()) << prepared.status();
  EXPECT_GT(DampingOf(**prepared), 0.05);
  gram.Set(3, 2, 1e9f);
  const auto failed = kGptq.prepare(scheme, &linear.statistics, TestContext());
  ASSERT_FALSE(failed.ok());
  EXPECT_EQ(ReasonOf(failed.status()), Reason::kDatasetInvalid);
  EXPECT_THAT(std::string(failed.status().message()), HasSubstr("damping 10"));
}

TEST(Gptq, NamesTheWeightThatIsNotFinite) {
  CalibratedLinear linear(4, 64, 300);
  linear.weights[64 + 7] = NAN;
  const Scheme scheme = GptqScheme(linear, 4, 64, true);
  const auto prepared = kGptq.prepare(scheme, &linear.statistics, TestContext());
  QuantizedRows out;
  const absl::Status status =
      kGptq.quantize(linear.Rows(), scheme, prepared->get(), TestContext(), &out);
  EXPECT_EQ(ReasonOf(status), Reason::kModelNotFinite);
  EXPECT_THAT(ViolationsOf(status)[0].where, HasSubstr("row 1, column 7"));
}

}  // namespace
}  // namespace quantd
