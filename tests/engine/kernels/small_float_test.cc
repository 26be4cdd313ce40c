// Floating types of 4 and 8 bits, against ml_dtypes (tests/golden/make_floating_golden.py).

#include "engine/tensor/small_float.h"

#include <cmath>
#include <fstream>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/paths.h"

namespace quantd {
namespace {

nlohmann::json GoldenOf(const std::string& type) {
  std::ifstream file(SourcePath("tests/golden/floating_compressed_tensors.json"));
  return nlohmann::json::parse(file)["types"][type];
}

class SmallFloats : public ::testing::TestWithParam<std::pair<const char*, rules::SmallFloat>> {};

TEST_P(SmallFloats, ValuesOfAllCodesAreThoseOfMlDtypes) {
  const nlohmann::json golden = GoldenOf(GetParam().first);
  const rules::SmallFloat type = GetParam().second;
  ASSERT_EQ(golden["values"].size(), size_t{1} << type.code_bits);
  for (uint32_t code = 0; code < golden["values"].size(); ++code) {
    if (golden["values"][code].is_null()) continue;  // NaN
    const float value = rules::SmallFloatOf(type, code);
    EXPECT_EQ(value, golden["values"][code].get<float>()) << code;
    EXPECT_EQ(rules::RoundToSmallFloat(type, value), value) << code;
    EXPECT_EQ(rules::SmallFloatCode(type, value), code);
  }
}

TEST_P(SmallFloats, EveryMidpointAndItsNeighboursRoundAsInMlDtypes) {
  const nlohmann::json golden = GoldenOf(GetParam().first);
  const rules::SmallFloat type = GetParam().second;
  const auto probes = golden["probes"].get<std::vector<float>>();
  const auto codes = golden["codes"].get<std::vector<uint32_t>>();
  ASSERT_EQ(probes.size(), codes.size());
  ASSERT_GT(probes.size(), size_t{6} << (type.code_bits - 1));
  for (size_t i = 0; i < probes.size(); ++i) {
    const float rounded = rules::RoundToSmallFloat(type, probes[i]);
    EXPECT_EQ(rules::SmallFloatCode(type, rounded), codes[i]) << probes[i];
  }
}

TEST_P(SmallFloats, SaturatesAndKeepsTheSign) {
  const rules::SmallFloat type = GetParam().second;
  for (const float value : {type.largest * 1.01f, 3e38f, HUGE_VALF}) {
    EXPECT_EQ(rules::RoundToSmallFloat(type, value), type.largest);
    EXPECT_EQ(rules::RoundToSmallFloat(type, -value), -type.largest);
  }
  EXPECT_TRUE(std::signbit(rules::RoundToSmallFloat(type, -1e-30f)));
  EXPECT_EQ(rules::SmallFloatCode(type, -0.0f), 1u << (type.code_bits - 1));
}

INSTANTIATE_TEST_SUITE_P(All, SmallFloats,
                         ::testing::Values(std::pair("e2m1", rules::kE2M1),
                                           std::pair("e4m3", rules::kE4M3)),
                         [](const auto& info) { return std::string(info.param.first); });

TEST(Powers, CodesAndValues) {
  for (int code = 0; code < 255; ++code) {
    EXPECT_EQ(rules::PowerOfTwo(code), std::ldexp(1.0f, code - 127)) << code;
    EXPECT_EQ(rules::PowerCode(rules::PowerOfTwo(code)), code);
    EXPECT_EQ(rules::NearestPower(rules::PowerOfTwo(code)), code);
  }
  EXPECT_EQ(rules::NearestPower(1.41f), 127);
  EXPECT_EQ(rules::NearestPower(1.42f), 128);
  EXPECT_EQ(rules::NearestPower(3e38f), 254);
}

}  // namespace
}  // namespace quantd
