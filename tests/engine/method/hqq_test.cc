// hqq: what it stores, what its solvers promise, and which requests it refuses.

#include "engine/method/hqq.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <vector>

#include "base/error.h"
#include "engine/backend/real_zero_rules.h"
#include "engine/method/half_quadratic.h"
#include "engine/method/hqq_gptq.h"
#include "engine/method/real_zero_codes.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/engine/method/calibrated_linear.h"
#include "tests/engine/method/method_context.h"

namespace quantd {
namespace {

using ::testing::HasSubstr;
using ::testing::SizeIs;

SchemeRequest Asking(int bits, int64_t group_size, Options options = {}) {
  SchemeRequest request;
  request.bits = bits;
  request.group_size = group_size;
  request.options = std::move(options);
  return request;
}

Options Solver(std::string_view name, bool weighted = true) {
  Options options;
  options.Set("solver", std::string(name));
  options.Set("weighted", weighted);
  return options;
}

Scheme Resolved(const Method& method, const CalibratedLinear& linear, const SchemeRequest& request,
                DType dtype = DType::kBF16) {
  const auto scheme = method.resolve(request, linear.spec, dtype);
  EXPECT_TRUE(scheme.ok()) << scheme.status();
  return *scheme;
}

// Sum over rows and inputs of mean x^2 times the squared error.
double WeightedError(const CalibratedLinear& linear, const QuantizedRows& rows) {
  const std::vector<float> importance = linear.statistics.MeanSquares();
  std::vector<float> row(static_cast<size_t>(rows.columns));
  double total = 0;
  for (int64_t n = 0; n < rows.rows; ++n) {
    rows.Dequantize(n, row.data());
    for (size_t k = 0; k < row.size(); ++k) {
      const double error =
          double{row[k]} - double{linear.weights[static_cast<size_t>(n * rows.columns) + k]};
      total += double{importance[k]} * error * error;
    }
  }
  return total;
}

TEST(Hqq, SearchBeatsTheReferenceIterationByItsOwnMeasure) {
  const CalibratedLinear linear(48, 256, 400);
  for (const int bits : {1, 2, 3, 4, 5, 6, 8}) {
    const auto error = [&](const Options& options) {
      const Scheme scheme = Resolved(kHqq, linear, Asking(bits, 64, options));
      return WeightedError(linear, Quantized(kHqq, linear, scheme));
    };
    const double search = error(Solver("search"));
    EXPECT_LT(search, error(Solver("half-quadratic", false))) << "bits " << bits;
    EXPECT_LT(search, error(Solver("half-quadratic"))) << "bits " << bits;
    EXPECT_LT(search, error(Solver("admm"))) << "bits " << bits;
    EXPECT_LT(search, error(Solver("search", false))) << "bits " << bits;
  }
}

TEST(Hqq, ZerosAreExactForSignedCodesAndForCodesFromZero) {
  const CalibratedLinear linear(48, 256, 400);
  for (const std::string_view solver : {"search", "half-quadratic", "admm"}) {
    for (const DType dtype : {DType::kBF16, DType::kF16}) {
      for (const int bits : {1, 2, 4, 8}) {
        const Scheme scheme = Resolved(kHqq, linear, Asking(bits, 32, Solver(solver)), dtype);
        const QuantizedRows rows = Quantized(kHqq, linear, scheme);
        const float offset = static_cast<float>(-scheme.qmin());
        for (size_t i = 0; i < rows.scales.size(); ++i) {
          const float zero = rows.real_zeros[i];
          EXPECT_EQ(rules::RoundReal(zero, dtype), zero);
          EXPECT_EQ(rules::RoundReal(zero + offset, dtype), zero + offset);
          EXPECT_EQ(rules::RoundScale(rows.scales[i], dtype), rows.scales[i]);
          EXPECT_GT(rows.scales[i], 0);
        }
      }
    }
  }
}

TEST(Hqq, CodesAreTheNearestToTheStoredLine) {
  const CalibratedLinear linear(16, 64, 400);
  for (const std::string_view solver : {"search", "half-quadratic", "admm"}) {
    const Scheme scheme = Resolved(kHqq, linear, Asking(3, 32, Solver(solver)));
    const QuantizedRows rows = Quantized(kHqq, linear, scheme);
    std::vector<float> row(64);
    double error_energy = 0;
    for (int64_t n = 0; n < rows.rows; ++n) {
      rows.Dequantize(n, row.data());
      for (size_t k = 0; k < row.size(); ++k) {
        const size_t at = static_cast<size_t>(n) * 64 + k;
        const double weight = double{linear.weights[at]}, error = double{row[k]} - weight;
        error_energy += error * error;
        for (const int other : {rows.codes[at] - 1, rows.codes[at] + 1}) {
          if (other < scheme.qmin() || other > scheme.qmax()) continue;
          const size_t group = static_cast<size_t>(n) * 2 + k / 32;
          const double moved =
              (double(other) - double{rows.real_zeros[group]}) * double{rows.scales[group]};
          EXPECT_LE(std::fabs(error), std::fabs(moved - weight) * (1 + 1e-5));
        }
      }
    }
    EXPECT_NEAR(rows.error_energy, error_energy, 1e-4 * error_energy);
  }
}

TEST(Hqq, AlikeWeightsAreExact) {
  CalibratedLinear linear(4, 64, 400);
  for (size_t i = 0; i < linear.weights.size(); ++i) {
    linear.weights[i] = i < 64 ? 0.0f : (i < 128 ? -0.375f : 1.5f);
  }
  for (const int bits : {1, 2, 4}) {
    const Scheme scheme = Resolved(kHqq, linear, Asking(bits, 32));
    EXPECT_EQ(Quantized(kHqq, linear, scheme).error_energy, 0) << "bits " << bits;
  }
}

TEST(Hqq, TernaryHasThreeLevelsInTwoBits) {
  const CalibratedLinear linear(16, 128, 400);
  Options options;
  options.Set("ternary", true);
  const Scheme ternary = Resolved(kHqq, linear, Asking(2, 64, options));
  const QuantizedRows rows = Quantized(kHqq, linear, ternary);
  EXPECT_EQ(std::set<int>(rows.codes.begin(), rows.codes.end()), (std::set<int>{-2, -1, 0}));
  const double error = WeightedError(linear, rows);
  const auto with_bits = [&](int bits) {
    return WeightedError(linear, Quantized(kHqq, linear, Resolved(kHqq, linear, Asking(bits, 64))));
  };
  EXPECT_GT(error, with_bits(2));
  EXPECT_LT(error, with_bits(1));
}

TEST(Hqq, OneCallOnAllRowsDoesNotDependOnThreads) {
  const CalibratedLinear linear(1200, 256, 400);  // more rows than one panel
  const Scheme scheme = Resolved(kHqq, linear, Asking(3, 64, Solver("half-quadratic", false)));
  ASSERT_TRUE(kHqq.all_rows(scheme));
  ThreadPool one(1), three(3);
  const MethodContext context = TestContext();
  const QuantizedRows a = Quantized(kHqq, linear, scheme, {one, context.backend, context.kernels});
  const QuantizedRows b =
      Quantized(kHqq, linear, scheme, {three, context.backend, context.kernels});
  EXPECT_EQ(a.codes, b.codes);
  EXPECT_EQ(a.real_zeros, b.real_zeros);
  EXPECT_EQ(a.error_energy, b.error_energy);
}

TEST(Hqq, AcrossRowsAGroupIsOutputsOfOneInput) {
  const CalibratedLinear linear(64, 32, 400);
  Options options;
  options.Set("axis", int64_t{0});
  const Scheme scheme = Resolved(kHqq, linear, Asking(3, 16, options));
  ASSERT_TRUE(kHqq.all_rows(scheme));
  const QuantizedRows rows = Quantized(kHqq, linear, scheme);
  // The transposed weights with their strips side by side, grouped along rows.
  CalibratedLinear turned(32, 64, 400);
  for (size_t n = 0; n < 64; ++n) {
    for (size_t k = 0; k < 32; ++k) {
      turned.weights[k * 64 + n % 4 * 16 + n / 4] = linear.weights[n * 32 + k];
    }
  }
  const Scheme along = Resolved(kHqq, turned, Asking(3, 16, Solver("search", false)));
  const QuantizedRows wanted = Quantized(kHqq, turned, along);
  for (size_t n = 0; n < 64; ++n) {
    for (size_t k = 0; k < 32; ++k) {
      EXPECT_EQ(rows.codes[n * 32 + k], wanted.codes[k * 64 + n % 4 * 16 + n / 4]);
      EXPECT_EQ(rows.scales[n * 32 + k], wanted.scales[k * 4 + n % 4]);
      EXPECT_EQ(rows.real_zeros[n * 32 + k], wanted.real_zeros[k * 4 + n % 4]);
    }
  }
}

TEST(Hqq, WithoutCalibrationItIsTheReference) {
  const CalibratedLinear linear(8, 128, 400);
  Options unweighted;
  unweighted.Set("weighted", false);
  const Scheme scheme = Resolved(kHqq, linear, Asking(4, 64, unweighted));
  EXPECT_EQ(scheme.options.Text("solver"), "half-quadratic");
  EXPECT_FALSE(kHqq.needs(scheme).any());
  const Scheme usual = Resolved(kHqq, linear, {});
  EXPECT_EQ(usual.options.Text("solver"), "search");
  EXPECT_TRUE(kHqq.needs(usual).moments);
  EXPECT_EQ(usual.group_size, 64);
  EXPECT_TRUE(usual.real_zero);
}

TEST(Hqq, RefusesWhatItCannotDo) {
  const CalibratedLinear linear(8, 128, 400);
  const auto got = [&](const SchemeRequest& request) {
    const auto scheme = kHqq.resolve(request, linear.spec, DType::kBF16);
    EXPECT_EQ(ReasonOf(scheme.status()), Reason::kRecipeInvalid);
    const std::vector<Violation> violations = ViolationsOf(scheme.status());
    EXPECT_THAT(violations, SizeIs(1));
    return violations.empty() ? "" : violations[0].got;
  };
  EXPECT_EQ(got(Asking(7, 64)), "bits 7");
  SchemeRequest request = Asking(4, 64);
  request.symmetric = true;
  EXPECT_EQ(got(request), "symmetric true");
  request = Asking(4, 64);
  request.scale_rule = ScaleRule::kMse;
  EXPECT_EQ(got(request), "scale_rule mse");
  Options ternary;
  ternary.Set("ternary", true);
  EXPECT_EQ(got(Asking(3, 64, ternary)), "option ternary with bits 3");
  EXPECT_THAT(got(Asking(4, 64, Solver("newton"))), HasSubstr("option solver"));
}

TEST(HqqGptq, CarriesErrorsOverSoThatOutputsChangeLess) {
  const CalibratedLinear linear(64, 256, 400);
  for (const int bits : {2, 3, 4}) {
    const auto error = [&](const Method& method) {
      const Scheme scheme = Resolved(method, linear, Asking(bits, 64));
      const QuantizedRows rows = Quantized(method, linear, scheme);
      EXPECT_EQ(rows.real_zeros.size(), 64u * 4);
      EXPECT_TRUE(rows.zeros.empty());
      EXPECT_GE(*std::min_element(rows.codes.begin(), rows.codes.end()), scheme.qmin());
      EXPECT_LE(*std::max_element(rows.codes.begin(), rows.codes.end()), scheme.qmax());
      return linear.OutputError(rows);
    };
    EXPECT_LT(error(kHqqGptq), 0.8 * error(kHqq)) << "bits " << bits;
  }
}

}  // namespace
}  // namespace quantd
