// With option reference, what AutoAWQ 0.2.9 itself chose for one linear: golden/make_awq_golden.py.

#include <cmath>
#include <string>
#include <vector>

#include "base/files.h"
#include "base/json.h"
#include "engine/method/awq_loss.h"
#include "engine/method/awq_search.h"
#include "gtest/gtest.h"
#include "tests/engine/method/awq_request.h"
#include "tests/engine/method/method_context.h"
#include "tests/paths.h"

namespace quantd {
namespace {

class AwqReferenceTest : public testing::TestWithParam<int> {
 protected:
  void SetUp() override {
    const std::string path = SourcePath("tests/engine/method/golden/awq_autoawq.json");
    golden_ = *ParseJson(*ReadFile(path, 1 << 24), path);
    case_ = golden_.at("cases").at(static_cast<size_t>(GetParam()));
    linear_ = std::make_unique<AwqLinear>(golden_.at("rows").get<int64_t>(),
                                          golden_.at("columns").get<int64_t>());
    linear_->weights = Values("weight", "weight_unit");
    linear_->AddInputs(Values("x", "input_unit"));
    SchemeRequest request;
    request.bits = case_.at("bits").get<int>();
    request.group_size = golden_.at("group_size").get<int64_t>();
    request.symmetric = case_.at("symmetric").get<bool>();
    request.options.Set("reference", true);
    request.options.Set("duo", case_.at("duo").get<bool>());
    const auto scheme = FindMethod("awq")->resolve(request, linear_->spec, DType::kF32);
    ASSERT_TRUE(scheme.ok()) << scheme.status();
    scheme_ = *scheme;
  }

  std::vector<float> Values(const std::string& name, const std::string& unit) const {
    std::vector<float> values;
    for (const Json& value : golden_.at(name)) {
      values.push_back(value.get<float>() * golden_.at(unit).get<float>());
    }
    return values;
  }

  Json golden_, case_;
  std::unique_ptr<AwqLinear> linear_;
  Scheme scheme_;
};

// The losses of all 20 candidates are those of the outputs of the linear.
TEST_P(AwqReferenceTest, Losses) {
  const TransformRequest request = linear_->Request(scheme_);
  const AwqSearchSettings settings = AwqSearchSettingsOf(scheme_);
  std::vector<double> means;
  if (settings.duo) means = *AwqWeightMeans(request, TestContext());
  const std::vector<AwqCandidate> candidates = AwqCandidates(request, settings, means);
  ASSERT_EQ(candidates.size(), 21U);  // no scaling, which the reference does not try, first
  const MethodContext context = TestContext();
  const AwqLossMeter meter(request, settings, candidates, context);
  std::vector<double> losses(meter.sums());
  ASSERT_TRUE(
      meter.Add(scheme_, linear_->weights.data(), linear_->spec.out_features, losses.data()).ok());
  // Ours is the sum over tokens and rows, theirs the mean.
  const auto outputs =
      static_cast<double>(golden_.at("tokens").get<int64_t>() * golden_.at("rows").get<int64_t>());
  for (size_t i = 0; i < 20; ++i) {
    const double wanted = case_.at("losses").at(i).get<double>();
    EXPECT_NEAR(losses[i + 1] / outputs / wanted, 1, 1e-3) << "alpha " << i << "/20";
  }
}

TEST_P(AwqReferenceTest, RatioAndScales) {
  const auto choice = FindMethod("awq")->transform(linear_->Request(scheme_), TestContext());
  ASSERT_TRUE(choice.ok()) << choice.status();
  EXPECT_EQ(choice->figures.front().first, "alpha");
  EXPECT_NEAR(choice->figures.front().second, case_.at("ratio").get<double>(), 1e-12);
  ASSERT_EQ(choice->scales.size(), case_.at("scales").size());
  for (size_t k = 0; k < choice->scales.size(); ++k) {
    EXPECT_NEAR(choice->scales[k] / case_.at("scales").at(k).get<float>(), 1, 1e-5) << k;
  }
}

// From the library's scales on: the clip of every group, and the codes. A group whose candidates
// are as good as each other in f32, or a weight between two codes, may fall the other way.
TEST_P(AwqReferenceTest, ClipAndCodes) {
  const auto scales = case_.at("scales").get<std::vector<float>>();
  InputStatistics divided = linear_->statistics.Copy("").value();
  divided.DivideBy(scales);
  std::vector<float> scaled = linear_->weights;
  for (size_t i = 0; i < scaled.size(); ++i) scaled[i] *= scales[i % scales.size()];
  const Method& awq = *FindMethod("awq");
  const auto prepared = awq.prepare(scheme_, &divided, TestContext());
  ASSERT_TRUE(prepared.ok()) << prepared.status();
  QuantizedRows rows;
  const absl::Status status = awq.quantize(
      {scaled.data(), DType::kF32, linear_->spec.out_features, linear_->spec.in_features}, scheme_,
      prepared->get(), TestContext(), &rows);
  ASSERT_TRUE(status.ok()) << status;

  const auto group = static_cast<size_t>(scheme_.group_size);
  size_t same_groups = 0, same_codes = 0, codes = 0;
  for (size_t g = 0; g < rows.scales.size(); ++g) {
    const double step = case_.at("steps").at(g).get<double>();
    if (std::abs(static_cast<double>(rows.scales[g]) / step - 1) > 1e-5) continue;
    ++same_groups;
    const int zero = scheme_.symmetric ? 0 : rows.zeros[g];
    for (size_t i = g * group; i < (g + 1) * group; ++i) {
      ++codes;
      same_codes += rows.codes[i] - zero == case_.at("codes").at(i).get<int>() ? 1 : 0;
    }
  }
  EXPECT_GE(static_cast<double>(same_groups), 0.99 * static_cast<double>(rows.scales.size()));
  EXPECT_GE(static_cast<double>(same_codes), 0.999 * static_cast<double>(codes));
}

INSTANTIATE_TEST_SUITE_P(AutoAwq, AwqReferenceTest, testing::Values(0, 1, 2, 3));

}  // namespace
}  // namespace quantd
