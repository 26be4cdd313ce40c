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
                                   .number_format = "int8",
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
  request.recipe.kv_cache = KvCache::kFp8;
  // Folders of statistics belong to the machine and do not travel.
  request.calibration = {.text = "/texts/c",
                         .text_field = "body",
                         .chat_template = "{{ messages }}",
                         .samples = 3,
                         .tokens_per_sample = 7,
                         .seed = 9,
                         .statistics_folder = "",
                         .save_statistics_folder = ""};
  request.evaluation = {.enabled = true,
                        .text = "builtin:calibration",
                        .text_field = "answer",
                        .chat_template = "{{ messages }}",
                        .windows = 5,
                        .tokens_per_window = 11,
                        .logits_windows = 2,
                        .analyze = true};
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
  auto& options_told = *spec.mutable_recipe()->mutable_default_scheme()->mutable_options();
  options_told["grid"].set_number_value(20);
  options_told["duo"].set_bool_value(false);
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

TEST(SpecTest, UnknownFieldsAreFoundInTheValuesOfOptions) {
  v1::JobSpec spec = ToProto(FullRequest());
  auto* scheme = spec.mutable_recipe()->mutable_default_scheme();
  scheme->clear_options();
  (*scheme->mutable_options())["damping"].set_number_value(0.05);
  ASSERT_TRUE(FromProto(spec).ok());
  auto& value = (*scheme->mutable_options())["damping"];
  value.GetReflection()->MutableUnknownFields(&value)->AddVarint(4711, 1);
  const absl::Status status = FromProto(spec).status();
  EXPECT_EQ(ReasonOf(status), Reason::kUnknownField);
  EXPECT_EQ(ViolationsOf(status)[0].where, "job.spec.recipe.default_scheme.options[0].value");
}

TEST(SpecTest, AnOptionThatIsNoValueIsNamedByItsPath) {
  v1::JobSpec spec;
  spec.mutable_model()->set_path("/m");
  auto* added = spec.mutable_recipe()->add_overrides();
  added->set_match("a");
  (*added->mutable_scheme()->mutable_options())["grid"].mutable_list_value();
  const absl::Status status = FromProto(spec).status();
  EXPECT_EQ(ReasonOf(status), Reason::kInvalidField);
  EXPECT_EQ(ViolationsOf(status)[0].where, "job.spec.recipe.overrides[0].scheme.options.grid");
}

TEST(ReportTest, WhatIsNotKnownOfAProgressIsNotTold) {
  EXPECT_FALSE(ToProto(ProgressReport{}).has_remaining_time());
  EXPECT_EQ(FromProto(v1::Progress()).eta_seconds, 0);
}

TEST(ReportTest, ValuesOfANewerWorkerAreReadPast) {
  v1::LayerReport layer;
  layer.set_module("m");
  layer.set_scale_rule(static_cast<v1::ScaleRule>(77));
  layer.GetReflection()->MutableUnknownFields(&layer)->AddVarint(4711, 1);
  EXPECT_EQ(FromProto(layer).name, "m");
  EXPECT_EQ(FromProto(layer).scale_rule, "");
  v1::Progress progress;
  progress.set_stage(static_cast<v1::Stage>(77));
  EXPECT_EQ(FromProto(progress).stage, Stage::kOpen);
}

TEST(BackendTest, NamesGoRoundAndOthersAreUnspecified) {
  for (const char* name : {"any", "cpu", "cuda"}) EXPECT_EQ(NameOf(BackendByName(name)), name);
  EXPECT_EQ(BackendByName("abacus"), v1::BACKEND_KIND_UNSPECIFIED);
  EXPECT_EQ(NameOf(static_cast<v1::BackendKind>(77)), "");
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
  layer.analysis = LayerAnalysis{
      .rows = 512,
      .output_error = 0.05,
      .salient = {{.share = 0.01, .channels = 4, .output_error = 0.03}},
      .codebooks = {
          {.name = "nf4", .bits_per_weight = 4.5, .weight_error = 0.1, .output_error = 0.04}}};
  EXPECT_EQ(FromProto(ToProto(layer)).analysis, layer.analysis);
  const SealedFile file{.path = "a/b", .bytes = 7, .sha256 = "00"};
  EXPECT_EQ(ToJson(FromProto(ToProto(file))), ToJson(file));
}

TEST(ReportTest, TheResultCarriesWhatTheReportSays) {
  Report report;
  report.engine_version = "9";
  report.model_fingerprint = "digest";
  report.backend = "cpu";
  report.compute = "bf16";
  report.seconds_total = 2.25;
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
  EXPECT_EQ(result.stage_times(1).stage(), v1::STAGE_WRITE);
  EXPECT_EQ(result.stage_times(1).run_time().nanos(), 500'000'000);
  EXPECT_EQ(result.run_time().seconds(), 2);
  EXPECT_EQ(result.backend(), v1::BACKEND_KIND_CPU);
  EXPECT_EQ(result.compute(), v1::COMPUTE_TYPE_BF16);
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
