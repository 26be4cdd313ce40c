// What gptq makes of a matrix when it is told to do as the reference implementation does, against
// what GPTQModel makes of it (tests/golden/make_gptq_golden.py).

#include <algorithm>
#include <fstream>

#include "engine/method/gptq.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/engine/method/method_context.h"
#include "tests/paths.h"

namespace quantd {
namespace {

InputStatistics StatisticsOf(const nlohmann::json& golden) {
  const int64_t columns = golden["columns"];
  InputStatistics statistics(columns);
  statistics.tokens = golden["tokens"];
  statistics.gram = Gram::Make(columns, columns, "").value();
  size_t at = 0;
  for (int64_t i = 0; i < columns; ++i) {
    for (int64_t j = i; j < columns; ++j) {
      statistics.gram.Set(i, j, golden["gram"][at++]);
    }
    statistics.sum_squares[static_cast<size_t>(i)] = static_cast<double>(statistics.gram.At(i, i));
  }
  return statistics;
}

Scheme ReferenceScheme(const nlohmann::json& wanted, const nlohmann::json& golden) {
  LinearSpec linear;
  linear.name = "linear";
  linear.in_features = golden["columns"];
  linear.out_features = golden["rows"];
  SchemeRequest request;
  request.bits = wanted["bits"].get<int>();
  request.group_size = golden["group_size"].get<int64_t>();
  request.symmetric = wanted["symmetric"].get<bool>();
  request.options.Set("reference", true);
  request.options.Set("act_order", wanted["act_order"].get<std::string>());
  const auto scheme = kGptq.resolve(request, linear, DType::kF32);
  EXPECT_TRUE(scheme.ok()) << scheme.status();
  return *scheme;
}

// The reference inverts the Hessian in f32 where we factor it, so a weight may fall between two
// codes either way, and the rest of its row goes another way: of the 12 rows of a case one may, all
// others are equal in every code and zero, and in scales but for rounding.
TEST(GptqGolden, CodesScalesAndZerosAreThoseOfGptqModel) {
  std::ifstream file(SourcePath("tests/golden/gptq_gptqmodel.json"));
  const nlohmann::json golden = nlohmann::json::parse(file);
  const auto weights = golden["weights"].get<std::vector<float>>();
  const WeightRows rows = {weights.data(), DType::kF32, golden["rows"], golden["columns"]};
  const InputStatistics statistics = StatisticsOf(golden);
  ASSERT_EQ(golden["cases"].size(), 32u);
  for (const nlohmann::json& wanted : golden["cases"]) {
    SCOPED_TRACE(wanted["act_order"].get<std::string>() + ", bits " + wanted["bits"].dump() +
                 ", symmetric " + wanted["symmetric"].dump());
    const Scheme scheme = ReferenceScheme(wanted, golden);
    const auto prepared = kGptq.prepare(scheme, &statistics, TestContext());
    ASSERT_TRUE(prepared.ok()) << prepared.status();
    QuantizedRows got;
    ASSERT_TRUE(kGptq.quantize(rows, scheme, prepared->get(), TestContext(), &got).ok());
    if (scheme.ordered_groups) {
      EXPECT_EQ(got.group_of, wanted["group_of"].get<std::vector<int32_t>>());
    } else {
      EXPECT_TRUE(got.group_of.empty());
    }
    const auto codes = wanted["codes"].get<std::vector<int>>();
    const auto scales = wanted["scales"].get<std::vector<float>>();
    const auto zeros = wanted["zeros"].get<std::vector<int>>();
    ASSERT_EQ(got.codes.size(), codes.size());
    ASSERT_EQ(got.scales.size(), scales.size());
    int equal_rows = 0;
    for (int64_t n = 0; n < rows.rows; ++n) {
      const int64_t first = n * got.columns;
      if (!std::equal(codes.begin() + first, codes.begin() + first + got.columns,
                      got.codes.begin() + first)) {
        continue;
      }
      ++equal_rows;
      for (size_t at = static_cast<size_t>(n * got.groups);
           at < static_cast<size_t>((n + 1) * got.groups); ++at) {
        EXPECT_NEAR(got.scales[at] / scales[at], 1.0f, 1e-4f) << "scale " << at;
        if (!scheme.symmetric) {
          EXPECT_EQ(got.zeros[at], zeros[at]) << "zero " << at;
        }
      }
    }
    EXPECT_GE(equal_rows, rows.rows - 1);
  }
}

}  // namespace
}  // namespace quantd
