// Half precision: every 16-bit pattern widened, and rounding checked against a search for the
// nearest value, on every instruction set that this machine has.
#include "engine/tensor/float_conversion.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

#include "engine/tensor/tensor.h"
#include "gtest/gtest.h"

namespace quantd {
namespace {

// A 16-bit format as IEEE 754 describes it, by arithmetic on doubles and not on bits.
struct HalfFormat {
  int fraction_bits;
  int bias;

  double Value(uint16_t bits) const {
    const int exponent_bits = 15 - fraction_bits;
    const int exponent = (bits >> fraction_bits) & ((1 << exponent_bits) - 1);
    const int fraction = bits & ((1 << fraction_bits) - 1);
    const double sign = (bits & 0x8000) != 0 ? -1.0 : 1.0;
    if (exponent == (1 << exponent_bits) - 1) {
      return fraction != 0 ? std::numeric_limits<double>::quiet_NaN()
                           : sign * std::numeric_limits<double>::infinity();
    }
    const double scaled = std::ldexp(fraction, -fraction_bits);
    return sign *
           (exponent == 0 ? std::ldexp(scaled, 1 - bias) : std::ldexp(1 + scaled, exponent - bias));
  }
  uint16_t infinity() const {
    return static_cast<uint16_t>(((1 << (15 - fraction_bits)) - 1) << fraction_bits);
  }
};

constexpr HalfFormat kF16{.fraction_bits = 10, .bias = 15};
constexpr HalfFormat kBF16{.fraction_bits = 7, .bias = 127};

// Finds the nearest value among all of the format, ties to the even pattern. Patterns of positive
// numbers grow with their values.
class NearestHalf {
 public:
  explicit NearestHalf(const HalfFormat& format) : format_(format) {
    for (uint16_t bits = 0; bits < format.infinity(); ++bits) values_.push_back(format.Value(bits));
    // What infinity stands for when rounding: the next value if the exponent went on.
    values_.push_back(2 * values_.back() - values_[values_.size() - 2]);
  }

  uint16_t operator()(float value) const {
    const uint16_t sign = std::signbit(value) ? 0x8000 : 0;
    const double magnitude = std::fabs(static_cast<double>(value));
    if (magnitude >= values_.back()) return sign | format_.infinity();
    const auto above = std::upper_bound(values_.begin(), values_.end(), magnitude);
    const auto low = static_cast<uint16_t>(above - values_.begin() - 1);
    const double down = magnitude - values_[low];
    const double up = values_[low + 1u] - magnitude;
    const bool round_up = up < down || (up == down && (low & 1) != 0);
    return static_cast<uint16_t>(sign | (low + (round_up ? 1 : 0)));
  }

 private:
  HalfFormat format_;
  std::vector<double> values_;
};

// Values at which rounding goes wrong if it can: every value of the format, every middle between
// two, and their neighbours; denormals, the largest numbers, zeros and infinities.
std::vector<float> AdversarialValues(const HalfFormat& format) {
  const float infinity = std::numeric_limits<float>::infinity();
  std::vector<float> values = {0.0f,
                               infinity,
                               std::numeric_limits<float>::max(),
                               std::numeric_limits<float>::min(),
                               std::numeric_limits<float>::denorm_min(),
                               65504.0f,
                               65519.996f,
                               65520.0f,
                               0x1p-24f,
                               0x1p-25f,
                               0x1.000002p-25f};
  for (uint16_t bits = 0; bits < format.infinity(); ++bits) {
    const double here = format.Value(bits);
    const double next = format.Value(static_cast<uint16_t>(bits + 1));
    const double middle = std::isinf(next) ? here : (here + next) / 2;
    for (const double center : {here, middle}) {
      const auto value = static_cast<float>(center);
      values.insert(values.end(),
                    {value, std::nextafter(value, infinity), std::nextafter(value, -infinity)});
    }
  }
  std::mt19937 random(20);
  for (int i = 0; i < 200000; ++i)
    values.push_back(std::bit_cast<float>(static_cast<uint32_t>(random())));
  const size_t count = values.size();
  for (size_t i = 0; i < count; ++i) values.push_back(-values[i]);
  return values;
}

std::vector<uint16_t> AllPatterns() {
  std::vector<uint16_t> patterns(65536);
  for (size_t i = 0; i < patterns.size(); ++i) patterns[i] = static_cast<uint16_t>(i);
  return patterns;
}

class FloatConversionTest : public ::testing::TestWithParam<FloatConversion> {
 protected:
  static void ExpectWidened(const HalfFormat& format, const std::vector<uint16_t>& patterns,
                            const std::vector<float>& wide) {
    for (size_t i = 0; i < patterns.size(); ++i) {
      const double wanted = format.Value(patterns[i]);
      ASSERT_EQ(std::isnan(wide[i]), std::isnan(wanted)) << "pattern " << patterns[i];
      ASSERT_EQ(std::signbit(wide[i]), (patterns[i] & 0x8000) != 0) << "pattern " << patterns[i];
      if (std::isnan(wanted)) continue;
      ASSERT_EQ(static_cast<double>(wide[i]), wanted) << "pattern " << patterns[i];
    }
  }

  static void ExpectNearest(const HalfFormat& format, const std::vector<float>& values,
                            const std::vector<uint16_t>& halves) {
    const NearestHalf nearest(format);
    for (size_t i = 0; i < values.size(); ++i) {
      if (std::isnan(values[i])) {
        ASSERT_TRUE(std::isnan(format.Value(halves[i]))) << "of value " << i;
      } else {
        ASSERT_EQ(halves[i], nearest(values[i])) << std::hexfloat << values[i];
      }
    }
  }
};

TEST_P(FloatConversionTest, WidensEveryF16) {
  const std::vector<uint16_t> patterns = AllPatterns();
  std::vector<float> wide(patterns.size());
  GetParam().widen_f16(patterns.data(), 65536, wide.data());
  ExpectWidened(kF16, patterns, wide);
}

TEST_P(FloatConversionTest, WidensEveryBF16) {
  const std::vector<uint16_t> patterns = AllPatterns();
  std::vector<float> wide(patterns.size());
  GetParam().widen_bf16(patterns.data(), 65536, wide.data());
  ExpectWidened(kBF16, patterns, wide);
}

TEST_P(FloatConversionTest, NarrowsToTheNearestF16) {
  const std::vector<float> values = AdversarialValues(kF16);
  std::vector<uint16_t> halves(values.size());
  GetParam().narrow_f16(values.data(), static_cast<int64_t>(values.size()), halves.data());
  ExpectNearest(kF16, values, halves);
}

TEST_P(FloatConversionTest, NarrowsToTheNearestBF16) {
  const std::vector<float> values = AdversarialValues(kBF16);
  std::vector<uint16_t> halves(values.size());
  GetParam().narrow_bf16(values.data(), static_cast<int64_t>(values.size()), halves.data());
  ExpectNearest(kBF16, values, halves);
}

TEST_P(FloatConversionTest, EveryValueSurvivesTheRoundTrip) {
  const std::vector<uint16_t> patterns = AllPatterns();
  std::vector<float> wide(patterns.size());
  std::vector<uint16_t> back(patterns.size());
  GetParam().widen_f16(patterns.data(), 65536, wide.data());
  GetParam().narrow_f16(wide.data(), 65536, back.data());
  for (size_t i = 0; i < patterns.size(); ++i) {
    if (std::isnan(kF16.Value(patterns[i]))) continue;
    ASSERT_EQ(back[i], patterns[i]);
  }
  GetParam().widen_bf16(patterns.data(), 65536, wide.data());
  GetParam().narrow_bf16(wide.data(), 65536, back.data());
  for (size_t i = 0; i < patterns.size(); ++i) {
    if (std::isnan(kBF16.Value(patterns[i]))) continue;
    ASSERT_EQ(back[i], patterns[i]);
  }
}

// All bits, NaN payloads included, at any length and from any address.
TEST_P(FloatConversionTest, GivesTheBitsOfTheScalarCode) {
  const FloatConversion& scalar = FloatConversions().front();
  const std::vector<uint16_t> patterns = AllPatterns();
  std::mt19937 random(7);
  std::vector<float> values(4096);
  for (float& value : values) value = std::bit_cast<float>(static_cast<uint32_t>(random()));
  for (int i = 0; i < 64; ++i)
    values[static_cast<size_t>(i)] = std::bit_cast<float>(0x7F800001u << (i % 2));
  for (int64_t count = 0; count < 70; ++count) {
    for (const size_t start : {0u, 1u, 31745u, 65000u}) {
      std::vector<uint32_t> wanted(80, 1), got(80, 1);
      const void* from = patterns.data() + start;
      scalar.widen_f16(from, count, reinterpret_cast<float*>(wanted.data()));
      GetParam().widen_f16(from, count, reinterpret_cast<float*>(got.data()));
      ASSERT_EQ(got, wanted) << "f16, " << count;
      scalar.widen_bf16(from, count, reinterpret_cast<float*>(wanted.data()));
      GetParam().widen_bf16(from, count, reinterpret_cast<float*>(got.data()));
      ASSERT_EQ(got, wanted) << "bf16, " << count;
    }
    std::vector<uint16_t> wanted(80, 1), got(80, 1);
    scalar.narrow_f16(values.data() + 1, count, wanted.data());
    GetParam().narrow_f16(values.data() + 1, count, got.data());
    ASSERT_EQ(got, wanted) << "f16, " << count;
    scalar.narrow_bf16(values.data() + 1, count, wanted.data());
    GetParam().narrow_bf16(values.data() + 1, count, got.data());
    ASSERT_EQ(got, wanted) << "bf16, " << count;
  }
  std::vector<uint16_t> wanted(4096), got(4096);
  scalar.narrow_f16(values.data(), 4096, wanted.data());
  GetParam().narrow_f16(values.data(), 4096, got.data());
  EXPECT_EQ(got, wanted);
}

INSTANTIATE_TEST_SUITE_P(Isa, FloatConversionTest,
                         ::testing::ValuesIn(FloatConversions().begin(), FloatConversions().end()),
                         [](const auto& info) { return std::string(info.param.isa); });

TEST(TensorTest, SlicesRows) {
  const std::vector<uint16_t> bits = {1, 2, 3, 4, 5, 6};
  const WeightRows rows{.data = bits.data(), .dtype = DType::kBF16, .rows = 3, .columns = 2};
  const WeightRows slice = rows.Slice(1, 2);
  EXPECT_EQ(slice.rows, 2);
  EXPECT_EQ(static_cast<const uint16_t*>(slice.data)[0], 3);
}

TEST(TensorTest, F32PassesThrough) {
  const std::vector<float> values = {1.5f, -0.0f, 3e38f};
  std::vector<float> copy(3), back(3);
  WidenToF32(values.data(), DType::kF32, 3, copy.data());
  NarrowFromF32(copy.data(), 3, DType::kF32, back.data());
  EXPECT_EQ(values, back);
  EXPECT_TRUE(std::signbit(back[1]));
}

TEST(DTypeTest, NamesAreThoseOfSafetensors) {
  for (int i = 0; i <= static_cast<int>(DType::kF8E5M2); ++i) {
    const auto dtype = static_cast<DType>(i);
    EXPECT_EQ(DTypeByName(NameOf(dtype)), dtype);
  }
  EXPECT_EQ(NameOf(DType::kF8E4M3), "F8_E4M3");
  EXPECT_EQ(TorchNameOf(DType::kBF16), "bfloat16");
  EXPECT_EQ(SizeOf(DType::kI64), 8);
  EXPECT_FALSE(DTypeByName("bf16").has_value());
  EXPECT_TRUE(IsFloat(DType::kF16));
  EXPECT_FALSE(IsFloat(DType::kF8E4M3));
}

}  // namespace
}  // namespace quantd
