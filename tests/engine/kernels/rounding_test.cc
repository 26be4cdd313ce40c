// The kernels that scale weights and measure rounding: right, and the same bits everywhere.

#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "engine/backend/kernels.h"
#include "gtest/gtest.h"

namespace quantd {
namespace {

std::vector<float> Draw(size_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (float& value : values) value = normal(random);
  return values;
}

TEST(RoundingKernels, MultiplyWritesAllAndNoMore) {
  for (const QuantizeKernels* kernels : AllCpuKernels()) {
    for (const size_t count : {1U, 8U, 15U, 16U, 24U, 128U, 129U}) {
      const std::vector<float> a = Draw(count, 1), b = Draw(count, 2);
      std::vector<float> to(count + 1, 99.0F);
      kernels->multiply(a.data(), b.data(), static_cast<int64_t>(count), to.data());
      for (size_t i = 0; i < count; ++i) EXPECT_EQ(to[i], a[i] * b[i]) << kernels->isa;
      EXPECT_EQ(to[count], 99.0F) << kernels->isa;
    }
  }
}

TEST(RoundingKernels, ErrorIsThatOfTheNearestCode) {
  constexpr float kScale = 0.3F;
  for (const int bits : {2, 4, 8}) {
    const std::vector<float> weights = Draw(72, 3);
    std::vector<float> importance = Draw(72, 4);
    for (float& value : importance) value = value * value;
    const int8_t zero = bits == 8 ? -5 : 1;
    double wanted = 0;
    std::vector<double> errors;
    for (size_t i = 0; i < weights.size(); ++i) {
      const double code = std::round(static_cast<double>(weights[i] / kScale)) + zero;
      const double half = std::exp2(bits - 1);
      const double step = std::min(std::max(code, -half), half - 1) - zero;
      errors.push_back(step * static_cast<double>(kScale) - static_cast<double>(weights[i]));
      wanted += static_cast<double>(importance[i]) * errors.back() * errors.back();
    }
    for (const QuantizeKernels* kernels : AllCpuKernels()) {
      std::vector<float> got(weights.size() + 1, 99.0F);
      const float sum = kernels->rounding_error(weights.data(), importance.data(), 72, kScale, zero,
                                                bits, got.data());
      EXPECT_NEAR(static_cast<double>(sum) / wanted, 1, 1e-5) << kernels->isa;
      for (size_t i = 0; i < errors.size(); ++i) {
        EXPECT_NEAR(static_cast<double>(got[i]), errors[i], 1e-5) << kernels->isa;
      }
      EXPECT_EQ(got.back(), 99.0F) << kernels->isa;
    }
  }
}

TEST(RoundingKernels, SameBitsOnEveryInstructionSet) {
  const QuantizeKernels& scalar = *AllCpuKernels()[0];
  for (const QuantizeKernels* kernels : AllCpuKernels()) {
    for (const size_t count : {8U, 40U, 64U, 128U}) {
      const std::vector<float> weights = Draw(count, 5), importance = Draw(count, 6);
      std::vector<float> wanted(count), got(count);
      for (const float* h : {importance.data(), static_cast<const float*>(nullptr)}) {
        const auto size = static_cast<int64_t>(count);
        const float a = scalar.rounding_error(weights.data(), h, size, 0.11F, 2, 4, wanted.data());
        const float b = kernels->rounding_error(weights.data(), h, size, 0.11F, 2, 4, got.data());
        EXPECT_EQ(std::memcmp(&a, &b, sizeof(a)), 0) << kernels->isa;
        EXPECT_EQ(std::memcmp(wanted.data(), got.data(), count * sizeof(float)), 0);
        EXPECT_EQ(kernels->rounding_error(weights.data(), h, size, 0.11F, 2, 4, nullptr), b);
      }
    }
  }
}

}  // namespace
}  // namespace quantd
