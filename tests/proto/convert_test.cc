#include "proto/convert.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "base/error.h"

namespace quantd {
namespace {

QuantizeRequest RequestFor(const std::string& model) {
  QuantizeRequest request;
  request.model_folder = model;
  return request;
}

QuantizeRequest FullRequest() {
  QuantizeRequest request;
  request.model_folder = "/models/a";
  request.recipe.default_scheme = {.method = "int8",
                                   .bits = 8,
                                   .granularity = Granularity::kGroup,
                                   .group_size = 64,
                                   .symmetric = false,
                                   .scale_rule = ScaleRule::kWeightedMse,
                                   .activations = ActivationScheme::kDynamicToken,
                                   .options = {}};
  request.recipe.default_scheme.options.Set("damping", 0.05);
  request.recipe.default_scheme.options.Set("act_order", std::string("static"));
  request.recipe.overrides.push_back({.match = "a.*", .skip = true, .scheme = {}});
  Override scheme;
  scheme.match = "b.?";
  scheme.scheme.method = "rtn";
  scheme.scheme.granularity = Granularity::kTensor;
  request.recipe.overrides.push_back(scheme);
  request.recipe.skip = {"lm_head", "x*"};
  request.recipe.propagate = Propagate::kQuantized;
  // Folders of statistics belong to the machine and do not travel.
  request.calibration = {.text = "/texts/c",
                         .samples = 3,
                         .tokens_per_sample = 7,
                         .seed = 9,
                         .statistics_folder = "",
                         .save_statistics_folder = ""};
  request.evaluation = {.enabled = true,
                        .text = "builtin:calibration",
                        .windows = 5,
                        .tokens_per_window = 11,
                        .logits_windows = 2};
  request.gate = {.max_perplexity_ratio = 1.5, .max_mean_kl = 0.0, .min_top1_agreement = 0.25};
  request.output = {.format = "compressed-tensors",
                    .loader = "vllm",
                    .tensor_parallel = 2,
                    .shard_bytes = 1 << 20};
  request.resources = {
      .backend = "cpu", .threads = 3, .max_memory_bytes = 123456789, .compute = ComputeType::kBF16};
  return request;
}

TEST(SpecTest, EveryFieldOfARequestGoesRound) {
  for (QuantizeRequest request : {FullRequest(), RequestFor("/m")}) {
    const auto back = FromProto(ToProto(request));
    ASSERT_TRUE(back.ok()) << back.status();
    EXPECT_EQ(*back, request);
  }
}

TEST(SpecTest, AnEmptySpecMeansTheDefaults) {
  v1::JobSpec spec;
  spec.mutable_model()->set_path("/m");
  const auto request = FromProto(spec);
  ASSERT_TRUE(request.ok()) << request.status();
  EXPECT_EQ(*request, RequestFor("/m"));
}

TEST(SpecTest, NoSkipListDiffersFromAnEmptyOne) {
  v1::JobSpec spec;
  spec.mutable_model()->set_path("/m");
  spec.mutable_recipe()->mutable_skip();
  EXPECT_TRUE(FromProto(spec)->recipe.skip.empty());
}

TEST(SpecTest, OptionsKeepTheirTypes) {
  v1::JobSpec spec;
  spec.mutable_model()->set_path("/m");
  spec.mutable_recipe()->mutable_default_scheme()->mutable_options()->set_grid(20);
  spec.mutable_recipe()->mutable_default_scheme()->mutable_options()->set_duo(false);
  const Options options = FromProto(spec)->recipe.default_scheme.options;
  EXPECT_EQ(options.Integer("grid"), 20);
  EXPECT_TRUE(options.values().contains("duo"));
  EXPECT_FALSE(options.Flag("duo"));
  EXPECT_EQ(options.values().size(), 2U);
}

TEST(SpecTest, EveryProblemIsNamedByItsPath) {
  v1::JobSpec spec;
  spec.mutable_recipe()->add_overrides();
  spec.mutable_recipe()->mutable_default_scheme()->set_bits(-1);
  spec.mutable_calibration()->mutable_dataset()->set_builtin("novels");
  spec.mutable_evaluation()->add_metrics(static_cast<v1::Metric>(99));
  spec.mutable_output()->set_server(false);
  spec.mutable_resources()->set_threads(-1);
  std::set<std::string> paths;
  for (const Violation& violation : ViolationsOf(FromProto(spec).status())) {
    paths.insert(violation.where);
  }
  EXPECT_EQ(paths, (std::set<std::string>{
                       "job.spec.model", "job.spec.recipe.default_scheme.bits",
                       "job.spec.recipe.overrides[0]", "job.spec.recipe.overrides[0].match",
                       "job.spec.calibration.dataset.builtin", "job.spec.evaluation.metrics[0]",
                       "job.spec.output.server", "job.spec.resources.threads"}));
}

TEST(SpecTest, NotANumberIsRefused) {
  v1::JobSpec spec;
  spec.mutable_model()->set_path("/m");
  spec.mutable_evaluation()->mutable_gate()->set_max_mean_kl(std::nan(""));
  EXPECT_EQ(ReasonOf(FromProto(spec).status()), Reason::kInvalidField);
}

TEST(SpecTest, UnknownFieldsAreFoundAtAnyDepth) {
  v1::JobSpec spec = ToProto(FullRequest());
  auto* deep = spec.mutable_recipe()->mutable_overrides(1)->mutable_scheme();
  deep->GetReflection()->MutableUnknownFields(deep)->AddVarint(4711, 1);
  const absl::Status status = FromProto(spec).status();
  EXPECT_EQ(ReasonOf(status), Reason::kUnknownField);
  EXPECT_EQ(ViolationsOf(status)[0].where, "job.spec.recipe.overrides[1].scheme");
  EXPECT_EQ(ViolationsOf(status)[0].got, "field number 4711");
}

TEST(ReportTest, ProgressLayersAndFilesGoRound) {
  for (const Stage stage : {Stage::kOpen, Stage::kCalibrate, Stage::kQuantize, Stage::kEvaluate,
                            Stage::kWrite, Stage::kDone}) {
    const ProgressReport report{.stage = stage,
                                .blocks_done = 1,
                                .blocks_total = 2,
                                .tokens = 3,
                                .bytes_read = 4,
                                .bytes_written = 5,
                                .eta_seconds = 6.5};
    EXPECT_EQ(ToJson(FromProto(ToProto(report))), ToJson(report));
  }
  LayerReport layer{.name = "m",
                    .out_features = 1,
                    .in_features = 2,
                    .method = "rtn",
                    .bits = 4,
                    .group_size = 32,
                    .symmetric = false,
                    .scale_rule = "mse",
                    .granularity = "group",
                    .activations = "none",
                    .weight_snr_db = 20.5,
                    .relative_output_error = std::nullopt,
                    .figures = {{"alpha", 0.4}, {"damping", 0.01}},
                    .seconds = 0.25};
  EXPECT_EQ(ToJson(FromProto(ToProto(layer))), ToJson(layer));
  layer.relative_output_error = 0.01;
  EXPECT_EQ(ToJson(FromProto(ToProto(layer))), ToJson(layer));
  const SealedFile file{.path = "a/b", .bytes = 7, .sha256 = "00"};
  EXPECT_EQ(ToJson(FromProto(ToProto(file))), ToJson(file));
}

TEST(ReportTest, TheResultCarriesWhatTheReportSays) {
  Report report;
  report.engine_version = "9";
  report.model_fingerprint = "digest";
  report.evaluation = EvaluationResult{.tokens = 5, .perplexity_original = 2, .kl_mean = 0.5};
  report.gate = {.passed = false, .missed = {"kl"}};
  report.bytes_original = 400;
  report.bytes_quantized = 100;
  report.seconds = {{Stage::kOpen, 0.5}, {Stage::kWrite, 1.5}};
  report.files = {{.path = "f", .bytes = 1, .sha256 = "s"}};
  report.resolved_recipe =
      Json::array({Json{{"name", "lm_head"}, {"skip", true}}, Json{{"name", "q"},
                                                                   {"method", "rtn"},
                                                                   {"bits", 4},
                                                                   {"granularity", "channel"},
                                                                   {"group_size", 0},
                                                                   {"symmetric", true},
                                                                   {"scale_rule", "mse"},
                                                                   {"activations", "none"}}});
  const v1::JobResult result = ToProto(report);
  EXPECT_EQ(result.engine_version(), "9");
  EXPECT_EQ(result.evaluation().tokens(), 5);
  EXPECT_FALSE(result.gate().passed());
  EXPECT_DOUBLE_EQ(result.compression_ratio(), 4);
  EXPECT_EQ(result.seconds(1).stage(), v1::STAGE_WRITE);
  EXPECT_EQ(result.files(0).path(), "f");
  ASSERT_EQ(result.resolved_recipe_size(), 2);
  EXPECT_FALSE(result.resolved_recipe(0).has_scheme());
  EXPECT_EQ(result.resolved_recipe(1).scheme().bits(), 4);
  EXPECT_EQ(result.resolved_recipe(1).scheme().granularity(), v1::GRANULARITY_CHANNEL);
}

TEST(ErrorTest, GoesRoundForEveryReason) {
  for (const ReasonRow& row : Reasons()) {
    const absl::Status status = MakeError(row.reason, "what", Violation{"w", "g", "n"});
    const v1::JobError error = ToProto(status);
    EXPECT_EQ(error.user_fault(), row.fault == Fault::kUser);
    const absl::Status back = FromProto(error);
    EXPECT_EQ(ReasonOf(back), row.reason);
    EXPECT_EQ(back.message(), status.message());
    EXPECT_EQ(ViolationsOf(back)[0].wanted, "n");
  }
}

}  // namespace
}  // namespace quantd
