// What hqq's half-quadratic solver makes of a matrix, against the reference library
// (tests/engine/method/golden/make_hqq_golden.py).

#include <cmath>
#include <fstream>

#include "engine/method/registry.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/engine/method/method_context.h"
#include "tests/paths.h"

namespace quantd {
namespace {

nlohmann::json Golden() {
  std::ifstream file(SourcePath("tests/engine/method/golden/hqq.json"));
  return nlohmann::json::parse(file);
}

Scheme ReferenceScheme(double bits, int64_t axis, int64_t group_size) {
  Scheme scheme;
  scheme.method = "hqq";
  scheme.bits = bits == 1.58 ? 2 : static_cast<int>(bits);
  scheme.group_size = group_size;
  scheme.symmetric = false;
  scheme.real_zero = true;
  scheme.scale_dtype = DType::kF32;
  scheme.options.Set("solver", std::string("half-quadratic"));
  scheme.options.Set("stop", std::string("tensor"));
  scheme.options.Set("ternary", bits == 1.58);
  scheme.options.Set("axis", axis);
  scheme.options.Set("iterations", int64_t{20});
  scheme.options.Set("lp_norm", 0.7);
  scheme.options.Set("beta", 10.0);
  scheme.options.Set("kappa", 1.0);  // the library leaves the growth out
  return scheme;
}

TEST(HqqGolden, ScalesZerosAndCodesAreThoseOfTheReference) {
  const nlohmann::json golden = Golden();
  ASSERT_EQ(golden["cases"].size(), 13u);
  for (const nlohmann::json& wanted : golden["cases"]) {
    const double bits = wanted["bits"];
    SCOPED_TRACE("bits " + wanted["bits"].dump() + ", times " + wanted["factor"].dump() +
                 ", axis " + wanted["axis"].dump());
    auto weights = golden["weights"].get<std::vector<float>>();
    for (float& weight : weights) weight *= wanted["factor"].get<float>();
    const WeightRows rows = {weights.data(), DType::kF32, golden["rows"], golden["columns"]};
    const Scheme scheme = ReferenceScheme(bits, wanted["axis"], golden["group_size"]);
    const auto scales = wanted["scales"].get<std::vector<float>>();
    const auto zeros = wanted["zeros"].get<std::vector<float>>();
    const auto codes = wanted["codes"].get<std::vector<int>>();
    for (const QuantizeKernels* kernels : AllCpuKernels()) {
      QuantizedRows got;
      ASSERT_TRUE(
          FindMethod("hqq")->quantize(rows, scheme, nullptr, TestContext(*kernels), &got).ok());
      // Across rows every weight has its group's beside it, the first rows each group once.
      ASSERT_EQ(got.scales.size(),
                scheme.options.Integer("axis") == 1 ? scales.size() : codes.size());
      ASSERT_EQ(got.codes.size(), codes.size());
      const float offset = static_cast<float>(-scheme.qmin());
      for (size_t i = 0; i < scales.size(); ++i) {
        EXPECT_NEAR(got.scales[i], scales[i], 1e-6 * scales[i]) << "group " << i;
        EXPECT_NEAR(got.real_zeros[i] + offset, zeros[i], 2e-4) << "group " << i;
      }
      for (size_t i = 0; i < codes.size(); ++i) {
        if (got.codes[i] - scheme.qmin() == codes[i]) continue;
        // The two libraries sum in another order: a weight between two codes may go to either.
        const size_t at = scheme.options.Integer("axis") == 1
                              ? i / golden["group_size"].get<size_t>()
                              : i % scales.size();
        const double position = double{weights[i]} / double{scales[at]} + double{zeros[at]};
        EXPECT_EQ(std::abs(got.codes[i] - scheme.qmin() - codes[i]), 1) << "code " << i;
        EXPECT_NEAR(std::fabs(position - std::floor(position)), 0.5, 1e-3) << "code " << i;
      }
    }
  }
}

}  // namespace
}  // namespace quantd
