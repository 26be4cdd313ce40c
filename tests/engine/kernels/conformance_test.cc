// Every instruction set gives the bits of the scalar reference.

#include <cmath>
#include <cstring>
#include <limits>
#include <tuple>

#include "engine/backend/kernels.h"
#include "gtest/gtest.h"
#include "tests/engine/kernels/weight_groups.h"

namespace quantd {
namespace {

struct GroupResult {
  float scale = 0;
  int8_t zero = 0;
  std::vector<int8_t> codes;
  double weight_energy = 0, error_energy = 0;

  bool operator==(const GroupResult& other) const {
    // By bits: -0 is not 0 here, and NaN equals itself.
    return std::memcmp(&scale, &other.scale, sizeof(scale)) == 0 && zero == other.zero &&
           codes == other.codes &&
           std::memcmp(&weight_energy, &other.weight_energy, sizeof(weight_energy)) == 0 &&
           std::memcmp(&error_energy, &other.error_energy, sizeof(error_energy)) == 0;
  }
};

GroupResult Run(const QuantizeKernels& kernels, const std::vector<float>& weights,
                const std::vector<float>& importance, const Scheme& scheme) {
  const int64_t count = static_cast<int64_t>(weights.size());
  GroupResult result;
  // One byte more on each side shows a kernel that writes past its group.
  std::vector<int8_t> codes(weights.size() + 2, 99);
  kernels.choose_scale(weights.data(), importance.empty() ? nullptr : importance.data(), count,
                       scheme, &result.scale, &result.zero);
  kernels.quantize(weights.data(), count, result.scale, result.zero, scheme.bits, codes.data() + 1,
                   &result.weight_energy, &result.error_energy);
  EXPECT_EQ(codes.front(), 99);
  EXPECT_EQ(codes.back(), 99);
  result.codes.assign(codes.begin() + 1, codes.end() - 1);
  return result;
}

std::vector<Scheme> AllSchemes() {
  std::vector<Scheme> schemes;
  for (int bits = 2; bits <= 8; ++bits) {
    for (const ScaleRule rule : {ScaleRule::kAbsmax, ScaleRule::kMse, ScaleRule::kWeightedMse}) {
      for (const bool symmetric : {true, false}) {
        for (const DType dtype : {DType::kF32, DType::kBF16, DType::kF16}) {
          Scheme scheme;
          scheme.bits = bits;
          scheme.scale_rule = rule;
          scheme.symmetric = symmetric;
          scheme.scale_dtype = dtype;
          schemes.push_back(scheme);
        }
      }
    }
  }
  return schemes;
}

void CompareAll(int64_t count, const std::vector<Scheme>& schemes) {
  std::vector<float> importance = Gaussian(count, 77, 1.0f);
  for (float& h : importance) h = h * h;
  for (const WeightGroup& group : AdversarialGroups(count)) {
    for (const Scheme& scheme : schemes) {
      const bool weighted = scheme.scale_rule == ScaleRule::kWeightedMse;
      const std::vector<float> used = weighted ? importance : std::vector<float>();
      const GroupResult wanted = Run(*AllCpuKernels()[0], group.weights, used, scheme);
      for (const QuantizeKernels* kernels : AllCpuKernels().subspan(1)) {
        const GroupResult got = Run(*kernels, group.weights, used, scheme);
        ASSERT_TRUE(got == wanted)
            << kernels->isa << ", " << group.name << ", " << count << " weights, "
            << Describe(scheme) << ", scales " << NameOf(scheme.scale_dtype) << ": scale "
            << got.scale << " for " << wanted.scale << ", zero " << int{got.zero} << " for "
            << int{wanted.zero} << ", error " << got.error_energy << " for " << wanted.error_energy;
      }
    }
  }
}

TEST(Conformance, ScalarComesFirstAndTheBestIsPicked) {
  ASSERT_FALSE(AllCpuKernels().empty());
  EXPECT_EQ(AllCpuKernels()[0]->isa, "scalar");
  for (const QuantizeKernels* kernels : AllCpuKernels()) {
    EXPECT_FALSE(kernels->isa.empty());
  }
}

// Codes are those of a true division: weights at and next to every boundary between two codes, for
// scales with every kind of mantissa.
TEST(Conformance, BoundariesBetweenCodes) {
  for (const QuantizeKernels* kernels : AllCpuKernels()) {
    for (int trial = 0; trial < 400; ++trial) {
      float scale = Gaussian(1, static_cast<uint32_t>(trial), 0.1f)[0];
      if (trial % 4 == 1) scale = std::nextafter(std::ldexp(1.0f, trial % 60 - 30), 0.0f);
      if (trial % 4 == 2) scale = std::ldexp(1.99999f, trial - 200 < -125 ? -125 : trial - 200);
      std::vector<float> weights;
      for (int half = -260; half <= 260; ++half) {
        const float at = scale * (static_cast<float>(half) / 2);
        for (const float weight : {std::nextafter(at, -INFINITY), at, std::nextafter(at, INFINITY)})
          if (std::isfinite(weight)) weights.push_back(weight);
      }
      std::vector<int8_t> codes(weights.size());
      double weight_energy = 0, error_energy = 0;
      kernels->quantize(weights.data(), static_cast<int64_t>(weights.size()), scale, 0, 8,
                        codes.data(), &weight_energy, &error_energy);
      for (size_t i = 0; i < weights.size(); ++i) {
        const float step = std::nearbyint(weights[i] / scale);
        ASSERT_EQ(int{codes[i]}, static_cast<int>(std::fmin(std::fmax(step, -128.0f), 127.0f)))
            << kernels->isa << ": " << weights[i] << " / " << scale;
      }
    }
  }
}

TEST(Conformance, EverySchemeOnGroupsOf128) { CompareAll(128, AllSchemes()); }

TEST(Conformance, EveryCountFrom1To300) {
  std::vector<Scheme> schemes;
  for (const Scheme& scheme : AllSchemes()) {
    const bool narrow = scheme.bits == 4 || scheme.bits == 8;
    if (narrow && scheme.scale_dtype == DType::kBF16) schemes.push_back(scheme);
  }
  for (int64_t count = 1; count <= 300; ++count) {
    ASSERT_NO_FATAL_FAILURE(CompareAll(count, schemes));
  }
}

TEST(Conformance, LongRows) {
  std::vector<Scheme> schemes;
  for (const Scheme& scheme : AllSchemes()) {
    if (scheme.scale_dtype == DType::kF32) schemes.push_back(scheme);
  }
  CompareAll(4099, schemes);
}

TEST(Conformance, FiniteIsNotFooledByPosition) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float signalling = std::numeric_limits<float>::signaling_NaN();
  const float infinity = std::numeric_limits<float>::infinity();
  for (const QuantizeKernels* kernels : AllCpuKernels()) {
    for (int64_t count = 1; count <= 70; ++count) {
      std::vector<float> values(static_cast<size_t>(count), std::numeric_limits<float>::max());
      EXPECT_TRUE(kernels->all_finite(values.data(), count)) << kernels->isa << " " << count;
      for (const float bad : {nan, signalling, infinity, -infinity}) {
        for (size_t at = 0; at < values.size(); ++at) {
          std::memcpy(&values[at], &bad, sizeof(bad));
          EXPECT_FALSE(kernels->all_finite(values.data(), count))
              << kernels->isa << ", " << bad << " at " << at << " of " << count;
          values[at] = -1;
        }
      }
    }
  }
}

TEST(Conformance, Pack4PutsLowBitsFirst) {
  for (const QuantizeKernels* kernels : AllCpuKernels()) {
    for (int64_t count = 1; count <= 300; ++count) {
      std::vector<int8_t> codes(static_cast<size_t>(count));
      for (int64_t i = 0; i < count; ++i) {
        codes[static_cast<size_t>(i)] = static_cast<int8_t>((i * 7 + count) % 16 - 8);
      }
      const size_t word_count = static_cast<size_t>((count + 7) / 8);
      std::vector<uint32_t> words(word_count + 1, 0xdeadbeef);
      kernels->pack4(codes.data(), count, words.data());
      EXPECT_EQ(words[word_count], 0xdeadbeef) << "wrote past the end";
      for (int64_t i = 0; i < static_cast<int64_t>(word_count) * 8; ++i) {
        const uint32_t stored = words[static_cast<size_t>(i / 8)] >> (4 * (i % 8)) & 15u;
        const uint32_t wanted =
            i < count ? static_cast<uint32_t>(codes[static_cast<size_t>(i)] + 8) : 0u;
        ASSERT_EQ(stored, wanted) << kernels->isa << ", code " << i << " of " << count;
      }
    }
  }
}

TEST(Conformance, TokensAgree) {
  for (int64_t count = 1; count <= 300; ++count) {
    for (const WeightGroup& group : AdversarialGroups(count)) {
      std::vector<int8_t> wanted(group.weights.size());
      float wanted_scale = 0;
      AllCpuKernels()[0]->quantize_token(group.weights.data(), count, wanted.data(), &wanted_scale);
      for (const QuantizeKernels* kernels : AllCpuKernels().subspan(1)) {
        std::vector<int8_t> codes(group.weights.size());
        float scale = 0;
        kernels->quantize_token(group.weights.data(), count, codes.data(), &scale);
        ASSERT_EQ(scale, wanted_scale) << kernels->isa << ", " << group.name << ", " << count;
        ASSERT_EQ(codes, wanted) << kernels->isa << ", " << group.name << ", " << count;
      }
    }
  }
}

}  // namespace
}  // namespace quantd
