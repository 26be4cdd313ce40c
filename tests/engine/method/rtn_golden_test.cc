// What rtn makes of a matrix, against what compressed-tensors makes of it
// (tests/golden/make_rtn_golden.py).

#include <cmath>
#include <cstdlib>
#include <fstream>

#include "engine/method/registry.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/engine/method/method_context.h"
#include "tests/paths.h"

namespace quantd {
namespace {

nlohmann::json Golden() {
  std::ifstream file(SourcePath("tests/golden/rtn_compressed_tensors.json"));
  return nlohmann::json::parse(file);
}

Granularity GranularityOf(const std::string& strategy) {
  if (strategy == "group") return Granularity::kGroup;
  return strategy == "channel" ? Granularity::kChannel : Granularity::kTensor;
}

// Symmetric: equal. Asymmetric: the library rounds w / scale + zero where we round w / scale, so a
// weight that lies between two codes may go to either; everything else is equal.
void ExpectSameCodes(const QuantizedRows& got, const std::vector<int8_t>& wanted,
                     const std::vector<float>& weights, const Scheme& scheme) {
  ASSERT_EQ(got.codes.size(), wanted.size());
  const int64_t group = got.columns / got.groups;
  for (size_t i = 0; i < wanted.size(); ++i) {
    if (got.codes[i] == wanted[i]) continue;
    const size_t at = i / static_cast<size_t>(group);
    const double position = static_cast<double>(weights[i]) / static_cast<double>(got.scales[at]);
    EXPECT_FALSE(scheme.symmetric) << "code " << i;
    EXPECT_EQ(std::abs(got.codes[i] - wanted[i]), 1) << "code " << i;
    EXPECT_NEAR(std::fabs(position - std::floor(position)), 0.5, 1e-5) << "code " << i;
  }
}

TEST(RtnGolden, ScalesZerosAndCodesAreThoseOfCompressedTensors) {
  const nlohmann::json golden = Golden();
  const auto weights = golden["weights"].get<std::vector<float>>();
  const WeightRows rows = {weights.data(), DType::kF32, golden["rows"], golden["columns"]};
  ASSERT_EQ(golden["cases"].size(), 24u);
  for (const nlohmann::json& wanted : golden["cases"]) {
    SCOPED_TRACE(wanted["strategy"].get<std::string>() + ", bits " + wanted["bits"].dump() +
                 ", symmetric " + wanted["symmetric"].dump());
    Scheme scheme;
    scheme.method = "rtn";
    scheme.bits = wanted["bits"];
    scheme.symmetric = wanted["symmetric"];
    scheme.granularity = GranularityOf(wanted["strategy"]);
    scheme.group_size =
        scheme.granularity == Granularity::kGroup ? golden["group_size"].get<int64_t>() : 0;
    scheme.scale_rule = ScaleRule::kAbsmax;
    scheme.scale_dtype = DType::kF32;
    for (const QuantizeKernels* kernels : AllCpuKernels()) {
      QuantizedRows got;
      ASSERT_TRUE(
          FindMethod("rtn")->quantize(rows, scheme, nullptr, TestContext(*kernels), &got).ok());
      const auto codes = wanted["codes"].get<std::vector<int8_t>>();
      auto scales = wanted["scales"].get<std::vector<float>>();
      auto zeros = wanted["zeros"].get<std::vector<int8_t>>();
      if (scheme.granularity == Granularity::kTensor) {
        scales.resize(static_cast<size_t>(rows.rows), scales[0]);
        zeros.resize(static_cast<size_t>(rows.rows), zeros[0]);
      }
      EXPECT_EQ(got.scales, scales);
      if (!scheme.symmetric) {
        EXPECT_EQ(got.zeros, zeros);
      }
      ExpectSameCodes(got, codes, weights, scheme);
    }
  }
}

}  // namespace
}  // namespace quantd
