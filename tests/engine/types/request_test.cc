#include "engine/types/request.h"

#include "base/error.h"
#include "engine/types/report.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace quantd {
namespace {

using ::testing::HasSubstr;
using ::testing::SizeIs;

TEST(RequestTest, JsonRoundTrip) {
  QuantizeRequest request;
  request.model_folder = "/models/a b";
  request.model_roots = {"/models", "/cache"};
  request.recipe = *ParseRecipe("default: {method: int8}");
  request.calibration.seed = 7;
  request.calibration.statistics_folder = "/a";
  request.calibration.save_statistics_folder = "/b";
  request.evaluation.enabled = false;
  request.gate.max_mean_kl = 0.05;
  request.output.loader = "vllm";
  request.output.tensor_parallel = 4;
  request.resources.threads = 3;
  request.resources.compute = ComputeType::kF32;
  const auto again = QuantizeRequestFromJson(ToJson(request));
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(*again, request);
}

TEST(RequestTest, AbsurdValuesAreAllNamed) {
  Json json = ToJson(QuantizeRequest{});
  json["calibration"]["samples"] = -1;
  json["evaluation"]["windows"] = "many";
  json["output"]["shard_bytes"] = 5;
  json["resources"]["threads"] = 1e9;
  json["resources"]["compute"] = "f8";
  json["colour"] = "red";
  const auto request = QuantizeRequestFromJson(json);
  EXPECT_THAT(ViolationsOf(request.status()), SizeIs(6));
  EXPECT_THAT(std::string(request.status().message()), HasSubstr("calibration.samples: got -1"));
}

Report SomeReport() {
  Report report;
  report.engine_version = "0.1.0";
  report.model_fingerprint = "abc";
  report.family = "llama";
  report.parameters = 10;
  report.evaluation = EvaluationResult{.tokens = 5,
                                       .perplexity_original = 30,
                                       .perplexity_quantized = 31,
                                       .kl_mean = 0.01,
                                       .kl_p99 = 0.2,
                                       .top1_agreement = 0.9};
  report.layers.resize(2);
  report.layers[0].name = "a";
  report.layers[0].out_features = 2;
  report.layers[0].bits = 4;
  report.layers[1].name = "b";
  report.layers[1].relative_output_error = 0.25;
  report.files.push_back({.path = "model.safetensors", .bytes = 7, .sha256 = "00"});
  report.seconds = {{Stage::kOpen, 0.5},
                    {Stage::kCalibrate, 0},
                    {Stage::kQuantize, 1},
                    {Stage::kEvaluate, 0},
                    {Stage::kWrite, 2}};
  report.warnings = {"careful"};
  return report;
}

TEST(ReportTest, JsonRoundTrip) {
  const Json json = ToJson(SomeReport());
  const auto again = ReportFromJson(json);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(ToJson(*again), json);
  EXPECT_EQ(again->layers[1].relative_output_error, 0.25);
  EXPECT_FALSE(again->layers[0].relative_output_error.has_value());
}

TEST(ReportTest, ABrokenReportIsAnErrorNotACrash) {
  for (const std::string text :
       {"[]", "{\"schema\": 2}", "{\"layers\": [1]}", "{\"size\": 3}", "{\"recipe\": 5}"}) {
    EXPECT_FALSE(ReportFromJson(*ParseJson(text, "report")).ok()) << text;
  }
}

TEST(GateTest, EachLimitIsToldApart) {
  const Report report = SomeReport();
  EXPECT_TRUE(CheckGate({}, std::nullopt).passed);
  EXPECT_TRUE(
      CheckGate({.max_perplexity_ratio = 1.04, .max_mean_kl = 0.01, .min_top1_agreement = 0.9},
                report.evaluation)
          .passed);
  const GateVerdict verdict =
      CheckGate({.max_perplexity_ratio = 1.01, .max_mean_kl = 0.001, .min_top1_agreement = 0.99},
                report.evaluation);
  EXPECT_FALSE(verdict.passed);
  EXPECT_THAT(verdict.missed, SizeIs(3));
  EXPECT_THAT(verdict.missed[1], HasSubstr("mean KL: got 0.01, wanted at most 0.001"));
  QualityGate gate;
  gate.max_mean_kl = 1;
  EXPECT_FALSE(CheckGate(gate, std::nullopt).passed);
}

TEST(GateTest, NotANumberMissesEveryGate) {
  EvaluationResult result;
  result.perplexity_original = 1;
  result.perplexity_quantized = result.kl_mean = result.top1_agreement =
      std::numeric_limits<double>::quiet_NaN();
  EXPECT_THAT(
      CheckGate({.max_perplexity_ratio = 2, .max_mean_kl = 1, .min_top1_agreement = 0}, result)
          .missed,
      SizeIs(3));
}

}  // namespace
}  // namespace quantd
