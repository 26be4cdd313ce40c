// Real zero points: every instruction set gives the bits of the scalar reference.

#include <cmath>
#include <cstring>

#include "engine/backend/kernels.h"
#include "gtest/gtest.h"
#include "tests/engine/kernels/weight_groups.h"

namespace quantd {
namespace {

struct Result {
  float scale = 0, zero = 0, updated = 0, largest = 0;
  std::vector<int8_t> codes;
  std::vector<double> errors = std::vector<double>(20, 0.0);
  double weight_energy = 0, error_energy = 0;
};

template <typename T>
bool SameBits(T a, T b) {
  return std::memcmp(&a, &b, sizeof(a)) == 0;
}

Result RunAll(const QuantizeKernels& kernels, const std::vector<float>& weights,
              const float* importance, const RealZeroCodes& codes) {
  const int64_t count = static_cast<int64_t>(weights.size());
  Result result;
  kernels.real_zero.search(weights.data(), importance, count, codes, &result.scale, &result.zero);
  // One byte more on each side shows a kernel that writes past its group.
  std::vector<int8_t> to(weights.size() + 2, 99);
  kernels.real_zero.quantize(weights.data(), count, result.scale, result.zero, codes, to.data() + 1,
                             &result.weight_energy, &result.error_energy);
  EXPECT_EQ(to.front(), 99);
  EXPECT_EQ(to.back(), 99);
  result.codes.assign(to.begin() + 1, to.end() - 1);
  result.updated = 1.5f;
  result.largest = kernels.real_zero.update_zero(
      weights.data(), importance, count, 1.0f / std::fabs(result.scale), codes.high - codes.low,
      {.count = 20, .keep_best = importance != nullptr}, &result.updated, result.errors.data());
  return result;
}

void ExpectSame(const Result& got, const Result& wanted) {
  EXPECT_TRUE(SameBits(got.scale, wanted.scale)) << got.scale << " for " << wanted.scale;
  EXPECT_TRUE(SameBits(got.zero, wanted.zero)) << got.zero << " for " << wanted.zero;
  EXPECT_TRUE(SameBits(got.updated, wanted.updated)) << got.updated << " for " << wanted.updated;
  EXPECT_TRUE(SameBits(got.largest, wanted.largest)) << got.largest << " for " << wanted.largest;
  EXPECT_TRUE(SameBits(got.weight_energy, wanted.weight_energy));
  EXPECT_TRUE(SameBits(got.error_energy, wanted.error_energy));
  EXPECT_EQ(got.codes, wanted.codes);
  EXPECT_EQ(got.errors, wanted.errors);
}

class RealZeroConformance : public testing::TestWithParam<int64_t> {};

TEST_P(RealZeroConformance, EveryInstructionSetGivesTheBitsOfTheReference) {
  const int64_t count = GetParam();
  std::vector<float> importance = Gaussian(count, 77, 1.0f);
  for (float& h : importance) h = h * h;
  const std::vector<float> nothing(importance.size(), 0.0f);
  const float* const weightings[] = {importance.data(), nothing.data(), nullptr};
  for (const WeightGroup& group : AdversarialGroups(count)) {
    for (const int bits : {1, 2, 3, 4, 6, 8}) {
      for (const DType dtype : {DType::kF32, DType::kBF16, DType::kF16}) {
        for (const float* weighting : weightings) {
          const int half = 1 << (bits - 1);
          const RealZeroCodes codes = {
              .low = -half, .high = half - 1, .offset = half, .dtype = dtype};
          const Result wanted = RunAll(*AllCpuKernels()[0], group.weights, weighting, codes);
          EXPECT_TRUE(std::isfinite(wanted.scale) && std::isfinite(wanted.zero)) << group.name;
          for (const QuantizeKernels* kernels : AllCpuKernels().subspan(1)) {
            SCOPED_TRACE(std::string(kernels->isa) + ", " + group.name + ", bits " +
                         std::to_string(bits) + ", zeros " + std::string(NameOf(dtype)));
            ExpectSame(RunAll(*kernels, group.weights, weighting, codes), wanted);
            if (HasFailure()) return;
          }
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(GroupSizes, RealZeroConformance, testing::Values(8, 16, 24, 64, 136));

}  // namespace
}  // namespace quantd
