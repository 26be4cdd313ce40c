// The scalar reference against the formulas of docs/numerics.md, worked out in f64 and by hand.

#include "engine/backend/rules.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "engine/backend/kernels.h"
#include "gtest/gtest.h"
#include "tests/engine/kernels/weight_groups.h"

namespace quantd {
namespace {

const QuantizeKernels& Scalar() { return *AllCpuKernels()[0]; }

Scheme SchemeOf(int bits, bool symmetric, ScaleRule rule, DType dtype = DType::kF32) {
  Scheme scheme;
  scheme.bits = bits;
  scheme.symmetric = symmetric;
  scheme.scale_rule = rule;
  scheme.scale_dtype = dtype;
  return scheme;
}

struct Chosen {
  float scale = 0;
  int8_t zero = 0;
  std::vector<int8_t> codes;
  double weight_energy = 0, error_energy = 0;
};

Chosen Quantize(const std::vector<float>& weights, const Scheme& scheme,
                const float* importance = nullptr) {
  Chosen chosen;
  chosen.codes.resize(weights.size());
  const int64_t count = static_cast<int64_t>(weights.size());
  Scalar().choose_scale(weights.data(), importance, count, scheme, &chosen.scale, &chosen.zero);
  Scalar().quantize(weights.data(), count, chosen.scale, chosen.zero, scheme.bits,
                    chosen.codes.data(), &chosen.weight_energy, &chosen.error_energy);
  return chosen;
}

// Sum over many groups of the error energy.
double ErrorOver(const std::vector<float>& weights, int64_t group, const Scheme& scheme) {
  double error = 0;
  for (size_t begin = 0; begin < weights.size(); begin += static_cast<size_t>(group)) {
    const std::vector<float> part(weights.begin() + static_cast<std::ptrdiff_t>(begin),
                                  weights.begin() + static_cast<std::ptrdiff_t>(begin) + group);
    error += Quantize(part, scheme).error_energy;
  }
  return error;
}

TEST(Rules, ScalesRoundToTheStoredType) {
  // 1 + 2^-8 lies between two bf16 and goes to the even one, 1; 1 + 3 * 2^-8 goes up to 1 + 2^-6.
  EXPECT_EQ(rules::RoundScale(1.00390625f, DType::kBF16), 1.0f);
  EXPECT_EQ(rules::RoundScale(1.01171875f, DType::kBF16), 1.015625f);
  EXPECT_EQ(rules::RoundScale(-1.01171875f, DType::kBF16), -1.015625f);
  // 1 + 2^-11 lies between two f16.
  EXPECT_EQ(rules::RoundScale(1.00048828125f, DType::kF16), 1.0f);
  EXPECT_EQ(rules::RoundScale(1.00146484375f, DType::kF16), 1.001953125f);
  EXPECT_EQ(rules::RoundScale(0.1f, DType::kF32), 0.1f);
}

TEST(Rules, ScalesNeverBecomeZeroOrInfinite) {
  const float least_f16 = std::ldexp(1.0f, -24);
  EXPECT_EQ(rules::RoundScale(1e-12f, DType::kF16), least_f16);
  EXPECT_EQ(rules::RoundScale(-1e-12f, DType::kF16), -least_f16);
  // Subnormal f16 come in steps of 2^-24.
  EXPECT_EQ(rules::RoundScale(2.5f * least_f16, DType::kF16), 2.0f * least_f16);
  EXPECT_EQ(rules::RoundScale(3.5f * least_f16, DType::kF16), 4.0f * least_f16);
  EXPECT_EQ(rules::RoundScale(1e30f, DType::kF16), 65504.0f);
  EXPECT_EQ(rules::RoundScale(65519.0f, DType::kF16), 65504.0f);
  EXPECT_EQ(rules::RoundScale(1e-44f, DType::kBF16), std::ldexp(1.0f, -126));
  EXPECT_EQ(rules::RoundScale(1e-44f, DType::kF32), std::ldexp(1.0f, -126));
  EXPECT_LT(rules::RoundScale(std::numeric_limits<float>::max(), DType::kBF16),
            std::numeric_limits<float>::infinity());
}

TEST(Rules, RoundingIsHalfToEven) {
  for (int i = -200; i <= 200; ++i) {
    const float half = static_cast<float>(i) / 2;
    EXPECT_EQ(rules::RoundToInteger(half), std::nearbyint(half)) << half;
  }
}

TEST(Rules, AbsmaxSymmetricByHand) {
  // absmax 7.5: scale 1, so the codes are the weights rounded half to even and clamped to -8..7.
  const Chosen chosen = Quantize({-7.5f, 7.5f, 0.5f, 1.5f, 2.5f, -0.5f, -1.5f, 6.6f},
                                 SchemeOf(4, true, ScaleRule::kAbsmax));
  EXPECT_EQ(chosen.scale, 1.0f);
  EXPECT_EQ(chosen.codes, (std::vector<int8_t>{-8, 7, 0, 2, 2, 0, -2, 7}));
  EXPECT_NEAR(chosen.weight_energy, 2 * 56.25 + 2 * 0.25 + 2 * 2.25 + 6.25 + 6.6 * 6.6, 1e-4);
}

TEST(Rules, MinMaxAsymmetricByHand) {
  // -1..14 in 15 steps: scale 1; code -8 stands for -1, so the zero is -7.
  const Chosen chosen = Quantize({-1, 14, 0, 3.5f}, SchemeOf(4, false, ScaleRule::kAbsmax));
  EXPECT_EQ(chosen.scale, 1.0f);
  EXPECT_EQ(chosen.zero, -7);
  EXPECT_EQ(chosen.codes, (std::vector<int8_t>{-8, 7, -7, -3}));
}

TEST(Rules, ZeroIsExactEvenFarFromTheWeights) {
  for (const ScaleRule rule : {ScaleRule::kAbsmax, ScaleRule::kMse}) {
    for (int bits = 2; bits <= 8; ++bits) {
      const Chosen chosen = Quantize({5, 5.5f, 6, 0, 5.25f}, SchemeOf(bits, false, rule));
      EXPECT_EQ(chosen.codes[3], chosen.zero) << bits;
    }
  }
}

TEST(Rules, ZerosHaveScaleOneAndNoError) {
  for (const ScaleRule rule : {ScaleRule::kAbsmax, ScaleRule::kMse, ScaleRule::kWeightedMse}) {
    for (const bool symmetric : {true, false}) {
      const std::vector<float> importance(20, 1.0f);
      const Chosen chosen = Quantize(std::vector<float>(20, 0.0f), SchemeOf(4, symmetric, rule),
                                     rule == ScaleRule::kWeightedMse ? importance.data() : nullptr);
      EXPECT_EQ(chosen.scale, 1.0f);
      EXPECT_EQ(chosen.zero, 0);
      EXPECT_EQ(chosen.codes, std::vector<int8_t>(20, 0));
      EXPECT_EQ(chosen.error_energy, 0);
    }
  }
}

TEST(Rules, AbsmaxErrorIsAtMostHalfAStep) {
  for (int bits = 2; bits <= 8; ++bits) {
    for (const bool symmetric : {true, false}) {
      const std::vector<float> weights = Gaussian(1000, 5);
      const Chosen chosen = Quantize(weights, SchemeOf(bits, symmetric, ScaleRule::kAbsmax));
      for (size_t i = 0; i < weights.size(); ++i) {
        const double back = (chosen.codes[i] - chosen.zero) * static_cast<double>(chosen.scale);
        // Half a step; asymmetric zeros are rounded, which can cost the ends another half.
        const double limit = symmetric ? 0.5 : 1.0;
        EXPECT_LE(std::fabs(back - static_cast<double>(weights[i])),
                  limit * static_cast<double>(chosen.scale) * 1.0001)
            << bits << " bits, weight " << i;
      }
    }
  }
}

TEST(Rules, EnergiesAreTheSumsTheyClaim) {
  const std::vector<float> weights = Gaussian(777, 6);
  const Chosen chosen = Quantize(weights, SchemeOf(3, false, ScaleRule::kMse, DType::kBF16));
  double weight_energy = 0, error_energy = 0;
  for (size_t i = 0; i < weights.size(); ++i) {
    const double w = static_cast<double>(weights[i]);
    const double error = w - (chosen.codes[i] - chosen.zero) * static_cast<double>(chosen.scale);
    weight_energy += w * w;
    error_energy += error * error;
  }
  // Sums of f32.
  EXPECT_NEAR(chosen.weight_energy / weight_energy, 1, 1e-5);
  EXPECT_NEAR(chosen.error_energy / error_energy, 1, 1e-5);
}

TEST(Rules, SearchIsNeverWorseThanTheRange) {
  for (const WeightGroup& group : AdversarialGroups(128)) {
    for (int bits = 2; bits <= 8; ++bits) {
      for (const bool symmetric : {true, false}) {
        const double plain =
            Quantize(group.weights, SchemeOf(bits, symmetric, ScaleRule::kAbsmax)).error_energy;
        const double searched =
            Quantize(group.weights, SchemeOf(bits, symmetric, ScaleRule::kMse)).error_energy;
        // What is left where the range fits exactly is the rounding of f32.
        double energy = 0;
        for (const float w : group.weights) energy += static_cast<double>(w) * w;
        EXPECT_LE(searched, plain * (1 + 1e-5) + 1e-13 * energy)
            << group.name << ", " << bits << " bits";
      }
    }
  }
}

// Ratios of squared error to absmax on Gaussian weights; a fine grid over both signs reaches .76
// and .61.
TEST(Rules, SearchPaysOnGaussianWeights) {
  const std::vector<float> weights = Gaussian(128 * 400, 7);
  const struct {
    int bits;
    bool symmetric;
    double ratio;
  } cases[] = {{4, true, 0.77},  {3, true, 0.62},  {2, true, 0.45},
               {4, false, 0.75}, {3, false, 0.62}, {8, true, 0.94}};
  for (const auto& [bits, symmetric, ratio] : cases) {
    const double plain = ErrorOver(weights, 128, SchemeOf(bits, true, ScaleRule::kAbsmax));
    const double searched = ErrorOver(weights, 128, SchemeOf(bits, symmetric, ScaleRule::kMse));
    EXPECT_LE(searched / plain, ratio) << bits << " bits, symmetric " << symmetric;
  }
}

// Against the least error over a thousand scales of both signs, each with f64 arithmetic.
TEST(Rules, SearchComesCloseToAFineGrid) {
  double searched = 0, fine = 0;
  for (uint64_t seed = 0; seed < 40; ++seed) {
    const std::vector<float> weights = Gaussian(64, 100 + seed);
    double absmax = 0;
    for (const float w : weights) absmax = std::max(absmax, std::fabs(static_cast<double>(w)));
    searched += Quantize(weights, SchemeOf(4, true, ScaleRule::kMse)).error_energy;
    double least = std::numeric_limits<double>::infinity();
    for (int i = -1000; i <= 1000; ++i) {
      if (std::abs(i) < 200) continue;
      const double scale = absmax / 8 * (1000.0 / i);
      double error = 0;
      for (const float w : weights) {
        const double step = std::clamp(std::nearbyint(static_cast<double>(w) / scale), -8.0, 7.0);
        const double difference = static_cast<double>(w) - step * scale;
        error += difference * difference;
      }
      least = std::min(least, error);
    }
    fine += least;
  }
  EXPECT_LE(searched / fine, 1.01);
}

TEST(Rules, ImportanceMovesTheErrorToWhereItCostsLess) {
  std::vector<float> importance(128, 0.01f);
  for (size_t i = 0; i < 16; ++i) importance[i * 8] = 10;
  for (const bool symmetric : {true, false}) {
    double plain_error = 0, weighted_error = 0;
    for (uint64_t seed = 0; seed < 60; ++seed) {
      const std::vector<float> weights = Gaussian(128, 200 + seed);
      const auto cost = [&](const Chosen& chosen) {
        double error = 0;
        for (size_t i = 0; i < weights.size(); ++i) {
          const double back = (chosen.codes[i] - chosen.zero) * static_cast<double>(chosen.scale);
          const double difference = static_cast<double>(weights[i]) - back;
          error += static_cast<double>(importance[i]) * difference * difference;
        }
        return error;
      };
      plain_error += cost(Quantize(weights, SchemeOf(3, symmetric, ScaleRule::kMse)));
      weighted_error += cost(
          Quantize(weights, SchemeOf(3, symmetric, ScaleRule::kWeightedMse), importance.data()));
    }
    EXPECT_LT(weighted_error, 0.75 * plain_error) << symmetric;
  }
}

TEST(Rules, TokensAreScaledByTheirOwnLargestValue) {
  const std::vector<float> x = {127, -63.5f, 0.5f, 1.5f, 0};
  std::vector<int8_t> codes(x.size());
  float scale = 0;
  Scalar().quantize_token(x.data(), static_cast<int64_t>(x.size()), codes.data(), &scale);
  EXPECT_EQ(scale, 1.0f);
  EXPECT_EQ(codes, (std::vector<int8_t>{127, -64, 0, 2, 0}));
}

}  // namespace
}  // namespace quantd
