#include "engine/backend/cpu/row_ops.h"

#include <bit>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/engine/backend/random_values.h"

namespace quantd {
namespace {

// Lengths around the width of a vector, and a long one.
constexpr int64_t kLengths[] = {1, 2, 15, 16, 17, 31, 32, 33, 100, 1000};

constexpr Activation kActivations[] = {Activation::kSilu, Activation::kGelu, Activation::kGeluTanh,
                                       Activation::kRelu};

class RowOpsTest : public testing::TestWithParam<const RowOps*> {
 protected:
  const RowOps& ops() const { return *GetParam(); }
};

double UlpsApart(float got, double wanted) {
  const double ulp = std::ldexp(1.0, std::ilogb(wanted) - 23);
  return std::abs(static_cast<double>(got) - wanted) / ulp;
}

TEST_P(RowOpsTest, ExpIsWithinTwoUlps) {
  std::vector<float> x, y;
  for (float value = -87.3F; value < 88.3F; value += 0.00037F) x.push_back(value);
  for (float value = 1e-30F; value < 1e-3F; value *= 1.7F) {
    x.push_back(value);
    x.push_back(-value);
  }
  x.push_back(0.0F);
  y.resize(x.size());
  ops().exp(x.data(), static_cast<int64_t>(x.size()), y.data());
  double worst = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    worst = std::max(worst, UlpsApart(y[i], std::exp(static_cast<double>(x[i]))));
  }
  EXPECT_LE(worst, 2.0);
}

TEST_P(RowOpsTest, ExpAtTheEdges) {
  const float infinity = std::numeric_limits<float>::infinity();
  const std::vector<float> x = {0.0F, -0.0F, -88.0F, -1e30F, -infinity, std::nanf("")};
  std::vector<float> y(x.size());
  ops().exp(x.data(), static_cast<int64_t>(x.size()), y.data());
  EXPECT_EQ(y[0], 1.0F);
  EXPECT_EQ(y[1], 1.0F);
  EXPECT_EQ(y[2], 0.0F);
  EXPECT_EQ(y[3], 0.0F);
  EXPECT_EQ(y[4], 0.0F);
  EXPECT_TRUE(std::isnan(y[5]));
}

TEST_P(RowOpsTest, TheTailOfARowHasTheBitsOfItsMiddle) {
  Random random(1);
  const std::vector<float> x = random.Floats(64, 20.0F);
  std::vector<float> whole(64);
  ops().exp(x.data(), 64, whole.data());
  for (size_t i = 0; i < 64; ++i) {
    float alone = 0;
    ops().exp(&x[i], 1, &alone);
    EXPECT_EQ(std::bit_cast<uint32_t>(alone), std::bit_cast<uint32_t>(whole[i])) << i;
  }
}

TEST_P(RowOpsTest, NothingIsWrittenBehindARow) {
  for (const int64_t count : kLengths) {
    Random random(2);
    const auto size = static_cast<size_t>(count);
    const std::vector<float> x = random.Floats(count);
    std::vector<float> y(size + 20, 7.0F);
    std::vector<uint16_t> narrow(size + 20, 7);
    ops().exp(x.data(), count, y.data());
    ops().to_bf16(x.data(), count, narrow.data());
    for (size_t i = size; i < y.size(); ++i) {
      ASSERT_EQ(y[i], 7.0F);
      ASSERT_EQ(narrow[i], 7);
    }
  }
}

TEST_P(RowOpsTest, RmsNormIsThatOfTheFormula) {
  for (const int64_t width : kLengths) {
    Random random(3);
    std::vector<float> x = random.Floats(width, 3.0F);
    x[0] = 4000.0F;  // an outlier, as large models have them
    const std::vector<float> gain = random.Floats(width);
    std::vector<float> y(x.size());
    ops().rms_norm(x.data(), gain.data(), width, 1e-5F, y.data());
    double squares = 0;
    for (const float value : x) squares += static_cast<double>(value) * static_cast<double>(value);
    const double rms = std::sqrt(squares / static_cast<double>(width) + 1e-5);
    for (size_t i = 0; i < y.size(); ++i) {
      const double wanted = static_cast<double>(x[i]) / rms * static_cast<double>(gain[i]);
      ASSERT_NEAR(y[i], wanted, 3e-7 * std::abs(wanted));
    }
    std::vector<float> in_place = x;
    ops().rms_norm(in_place.data(), gain.data(), width, 1e-5F, in_place.data());
    EXPECT_EQ(in_place, y);
  }
}

TEST_P(RowOpsTest, RmsNormOfZerosIsZero) {
  std::vector<float> x(40, 0.0F);
  const std::vector<float> gain(40, 2.0F);
  ops().rms_norm(x.data(), gain.data(), 40, 1e-6F, x.data());
  EXPECT_EQ(x, std::vector<float>(40, 0.0F));
}

TEST_P(RowOpsTest, RopeRotatesHalves) {
  for (const int64_t half : {1, 3, 4, 16, 20, 32, 64}) {
    Random random(4);
    const std::vector<float> x = random.Floats(2 * half), angles = random.Floats(half, 6.0F);
    std::vector<float> cos, sin, y = x;
    for (const float angle : angles) {
      cos.push_back(std::cos(angle));
      sin.push_back(std::sin(angle));
    }
    ops().rope(y.data(), half, cos.data(), sin.data());
    for (size_t i = 0; i < angles.size(); ++i) {
      const size_t j = i + angles.size();
      ASSERT_NEAR(y[i], x[i] * cos[i] - x[j] * sin[i], 3e-7);
      ASSERT_NEAR(y[j], x[j] * cos[i] + x[i] * sin[i], 3e-7);
    }
  }
}

TEST_P(RowOpsTest, SiluTimesUp) {
  std::vector<float> gate = {0.0F, 1.0F, -1.0F, 30.0F, -30.0F, -200.0F, 200.0F};
  Random random(5);
  for (const float value : random.Floats(200, 10.0F)) gate.push_back(value);
  const std::vector<float> up = random.Floats(static_cast<int64_t>(gate.size()), 4.0F),
                           before = gate;
  ops().activate_multiply(Activation::kSilu, gate.data(), up.data(),
                          static_cast<int64_t>(gate.size()));
  for (size_t i = 0; i < gate.size(); ++i) {
    const double g = before[i];
    const double wanted = g / (1 + std::exp(-g)) * static_cast<double>(up[i]);
    ASSERT_NEAR(gate[i], wanted, 5e-7 * std::abs(wanted) + 1e-30) << g;
  }
}

double WantedOf(Activation activation, double x) {
  switch (activation) {
    case Activation::kSilu:
      return x / (1 + std::exp(-x));
    case Activation::kGelu:
      return x * std::erfc(-x / std::sqrt(2.0)) / 2;
    case Activation::kGeluTanh:
      return x / (1 + std::exp(-2 * std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case Activation::kRelu:
      break;
  }
  return x > 0 ? x : 0;
}

TEST_P(RowOpsTest, ActivationsAreThoseOfTheirFormulas) {
  std::vector<float> x = {0.0F, -0.0F, 1e-6F, -1e-6F, 100.0F, -100.0F};
  for (float value = -9.0F; value < 9.0F; value += 0.0173F) x.push_back(value);
  for (const Activation activation : kActivations) {
    std::vector<float> y = x;
    ops().activate(activation, y.data(), static_cast<int64_t>(y.size()));
    for (size_t i = 0; i < x.size(); ++i) {
      const double wanted = WantedOf(activation, static_cast<double>(x[i]));
      // Where the result is tiny, the rounding of an exponent shows.
      ASSERT_NEAR(y[i], wanted, 3e-6 * std::abs(wanted) + 1e-12)
          << static_cast<int>(activation) << " of " << x[i];
    }
  }
}

TEST_P(RowOpsTest, SoftCapIsATangent) {
  for (const float cap : {1.0F, 30.0F}) {
    std::vector<float> x = {0.0F, 1e-8F, -1e-5F, 1e30F, -1e30F};
    for (float value = -4.0F; value < 4.0F; value += 0.0137F) x.push_back(value * cap);
    std::vector<float> y = x;
    ops().soft_cap(y.data(), cap, static_cast<int64_t>(y.size()));
    for (size_t i = 0; i < x.size(); ++i) {
      const double wide = static_cast<double>(cap);
      const double wanted = wide * std::tanh(static_cast<double>(x[i]) / wide);
      ASSERT_NEAR(y[i], wanted, 6e-7 * std::abs(wanted)) << x[i];
    }
  }
}

TEST_P(RowOpsTest, LayerNormIsThatOfTheFormula) {
  for (const int64_t width : kLengths) {
    Random random(11);
    std::vector<float> x = random.Floats(width, 3.0F);
    for (float& value : x) value += 50.0F;  // a mean far from zero
    x[0] = 4000.0F;
    const std::vector<float> gain = random.Floats(width), bias = random.Floats(width);
    double mean = 0, variance = 0;
    for (const float value : x) mean += static_cast<double>(value) / static_cast<double>(width);
    for (const float value : x) {
      const double apart = static_cast<double>(value) - mean;
      variance += apart * apart / static_cast<double>(width);
    }
    std::vector<float> y(x.size()), plain(x.size());
    ops().layer_norm(x.data(), gain.data(), bias.data(), width, 1e-5F, y.data());
    ops().layer_norm(x.data(), gain.data(), nullptr, width, 1e-5F, plain.data());
    for (size_t i = 0; i < y.size(); ++i) {
      const double scaled = (static_cast<double>(x[i]) - mean) / std::sqrt(variance + 1e-5) *
                            static_cast<double>(gain[i]);
      ASSERT_NEAR(y[i], scaled + static_cast<double>(bias[i]), 2e-5);
      ASSERT_NEAR(plain[i], scaled, 2e-5);
    }
  }
}

TEST_P(RowOpsTest, ToBf16RoundsHalfToEven) {
  const std::vector<uint32_t> bits = {0x3f800000, 0x3f808000, 0x3f818000, 0x3f808001, 0x3f807fff,
                                      0xbf808000, 0x00000001, 0x7f7fffff, 0x7f800000, 0x80000000};
  const std::vector<uint16_t> wanted = {0x3f80, 0x3f80, 0x3f82, 0x3f81, 0x3f80,
                                        0xbf80, 0x0000, 0x7f80, 0x7f80, 0x8000};
  std::vector<uint16_t> got(bits.size());
  ops().to_bf16(reinterpret_cast<const float*>(bits.data()), static_cast<int64_t>(bits.size()),
                got.data());
  EXPECT_EQ(got, wanted);
}

TEST_P(RowOpsTest, ExpMinusMaxAndSumExp) {
  for (const int64_t count : kLengths) {
    Random random(6);
    std::vector<float> x = random.Floats(count, 30.0F);
    const RowSum sum = ops().sum_exp(x.data(), count);
    float max = x[0];
    for (const float value : x) max = std::max(max, value);
    double wanted = 0;
    for (const float value : x)
      wanted += std::exp(static_cast<double>(value) - static_cast<double>(max));
    EXPECT_EQ(sum.max, max);
    EXPECT_NEAR(sum.sum, wanted, 1e-6 * wanted);
    const float in_f32 = ops().exp_minus_max(x.data(), count);
    EXPECT_NEAR(in_f32, wanted, 1e-6 * wanted);
    double written = 0;
    for (const float value : x) written += static_cast<double>(value);
    EXPECT_NEAR(written, wanted, 1e-6 * wanted);
  }
}

TEST_P(RowOpsTest, WeightedDifference) {
  for (const int64_t count : kLengths) {
    Random random(7);
    const std::vector<float> x = random.Floats(count, 5.0F), y = random.Floats(count, 5.0F);
    const float max = ops().sum_exp(x.data(), count).max;
    double wanted = 0, size = 0;
    for (size_t i = 0; i < x.size(); ++i) {
      const double p = std::exp(static_cast<double>(x[i]) - static_cast<double>(max));
      const double difference = static_cast<double>(x[i]) - static_cast<double>(y[i]);
      wanted += p * difference;
      size += p * std::abs(difference);
    }
    EXPECT_NEAR(ops().weighted_difference(x.data(), y.data(), max, count), wanted, 1e-6 * size);
  }
}

TEST_P(RowOpsTest, CodesAreRoundedToEvenAndClamped) {
  for (const int zero : {0, 5, -128, 127}) {
    for (const int64_t count : kLengths) {
      Random random(9);
      std::vector<float> x = random.Floats(count, 60.0F);
      // Ties, and values beyond every code.
      for (int64_t i = 0; i < count; i += 3)
        x[static_cast<size_t>(i)] = 0.25F * static_cast<float>(i % 7);
      x.front() = 3e38F;
      x.back() = -1e30F;
      std::vector<int8_t> codes(static_cast<size_t>(count));
      ops().to_codes(x.data(), count, 0.5F, zero, codes.data());
      for (size_t i = 0; i < x.size(); ++i) {
        const float code = std::nearbyint(x[i] / 0.5F) + static_cast<float>(zero);
        const float clamped = code < -128 ? -128.0F : code > 127 ? 127.0F : code;
        EXPECT_EQ(codes[i], static_cast<int>(clamped)) << x[i] << " zero " << zero;
      }
    }
  }
}

TEST_P(RowOpsTest, EveryInstructionSetGivesTheBitsOfTheScalarOne) {
  const RowOps& scalar = *AllCpuRowOps().front();
  for (const int64_t count : kLengths) {
    Random random(8);
    const auto size = static_cast<size_t>(count);
    const std::vector<float> x = random.Floats(count, 30.0F), y = random.Floats(count, 2.0F);
    std::vector<int32_t> sums;
    for (int64_t i = 0; i < count; ++i)
      sums.push_back(static_cast<int32_t>(random.Next() >> 6) - (1 << 25));
    std::vector<std::vector<float>> results;
    for (const RowOps* ops : {&scalar, GetParam()}) {
      std::vector<float> all;
      std::vector<float> out(size);
      const auto keep = [&] { all.insert(all.end(), out.begin(), out.end()); };
      ops->exp(x.data(), count, out.data()), keep();
      ops->rms_norm(x.data(), y.data(), count, 1e-5F, out.data()), keep();
      for (const Activation activation : kActivations) {
        out = x, ops->activate(activation, out.data(), count), keep();
        out = x, ops->activate_multiply(activation, out.data(), y.data(), count), keep();
      }
      out = x, ops->soft_cap(out.data(), 7.0F, count), keep();
      out = x, ops->add_times(out.data(), y.data(), 0.37F, count), keep();
      ops->layer_norm(x.data(), y.data(), x.data(), count, 1e-5F, out.data()), keep();
      out = x, ops->add(out.data(), y.data(), count), keep();
      out = x, ops->add_scaled(sums.data(), 0.37F, y.data(), count, out.data()), keep();
      out = x, ops->rope(out.data(), count / 2, y.data(), x.data()), keep();
      ops->scale(x.data(), 0.3F, count, out.data()), keep();
      out = x, all.push_back(ops->exp_minus_max(out.data(), count)), keep();
      all.push_back(static_cast<float>(ops->sum_exp(x.data(), count).sum));
      all.push_back(static_cast<float>(ops->weighted_difference(x.data(), y.data(), 30.0F, count)));
      results.push_back(all);
    }
    EXPECT_EQ(results[0], results[1]) << count;
  }
}

INSTANTIATE_TEST_SUITE_P(Isa, RowOpsTest,
                         testing::ValuesIn(AllCpuRowOps().begin(), AllCpuRowOps().end()),
                         [](const auto& info) { return std::string(info.param->isa); });

}  // namespace
}  // namespace quantd
