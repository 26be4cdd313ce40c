// What the engine tells: progress, layers, files, the final report, errors.
#include <algorithm>
#include <string>

#include "base/error.h"
#include "proto/convert.h"
#include "proto/convert_time.h"
#include "proto/wire_enums.h"

namespace quantd {
namespace {

constexpr EnumMap<Stage, v1::Stage, 6> kStages = {{{Stage::kOpen, v1::STAGE_OPEN},
                                                   {Stage::kCalibrate, v1::STAGE_CALIBRATE},
                                                   {Stage::kQuantize, v1::STAGE_QUANTIZE},
                                                   {Stage::kEvaluate, v1::STAGE_EVALUATE},
                                                   {Stage::kWrite, v1::STAGE_WRITE},
                                                   {Stage::kDone, v1::STAGE_DONE}}};

// An entry of the report's resolved recipe: {name, skip: true} or {name, method, bits, …}. The
// values are names that the recipe's own parser knows.
v1::ResolvedLinear ResolvedFromJson(const Json& entry) {
  v1::ResolvedLinear linear;
  linear.set_name(entry.value("name", ""));
  if (entry.value("skip", false)) return linear;
  Json scheme = Json::object();
  for (const char* key : {"method", "bits", "number_format", "granularity", "group_size",
                          "symmetric", "scale_rule", "activations", "options"}) {
    if (entry.contains(key)) scheme[key] = entry[key];
  }
  // A group size of 0 says "no groups"; the parser wants it left out then.
  if (scheme.value("group_size", int64_t{0}) == 0) scheme.erase("group_size");
  const auto recipe = RecipeFromJson(Json{{"default", std::move(scheme)}}, "resolved");
  if (recipe.ok()) *linear.mutable_scheme() = ToProto(*recipe).default_scheme();
  return linear;
}

v1::EvaluationResult EvaluationToProto(const EvaluationResult& result) {
  v1::EvaluationResult message;
  message.set_tokens(result.tokens);
  message.set_perplexity_original(result.perplexity_original);
  message.set_perplexity_quantized(result.perplexity_quantized);
  message.set_kl_mean(result.kl_mean);
  message.set_kl_p99(result.kl_p99);
  message.set_top1_agreement(result.top1_agreement);
  const DivergenceHistogram& histogram = result.kl_histogram;
  if (!histogram.counts.empty()) {
    message.mutable_kl_histogram()->set_low(histogram.low);
    message.mutable_kl_histogram()->set_high(histogram.high);
    for (const int64_t count : histogram.counts) message.mutable_kl_histogram()->add_counts(count);
  }
  return message;
}

v1::LayerAnalysis AnalysisToProto(const LayerAnalysis& analysis) {
  v1::LayerAnalysis message;
  message.set_rows(analysis.rows);
  message.set_output_error(analysis.output_error);
  for (const SalientProtection& entry : analysis.salient) {
    v1::SalientProtection* added = message.add_salient();
    added->set_share(entry.share);
    added->set_channels(entry.channels);
    added->set_output_error(entry.output_error);
  }
  for (const CodebookError& entry : analysis.codebooks) {
    v1::CodebookError* added = message.add_codebooks();
    added->set_name(entry.name);
    added->set_bits_per_weight(entry.bits_per_weight);
    added->set_weight_error(entry.weight_error);
    added->set_output_error(entry.output_error);
  }
  return message;
}

LayerAnalysis AnalysisFromProto(const v1::LayerAnalysis& message) {
  LayerAnalysis analysis{.rows = message.rows(),
                         .output_error = message.output_error(),
                         .salient = {},
                         .codebooks = {}};
  for (const v1::SalientProtection& entry : message.salient()) {
    analysis.salient.push_back({.share = entry.share(),
                                .channels = entry.channels(),
                                .output_error = entry.output_error()});
  }
  for (const v1::CodebookError& entry : message.codebooks()) {
    analysis.codebooks.push_back({.name = entry.name(),
                                  .bits_per_weight = entry.bits_per_weight(),
                                  .weight_error = entry.weight_error(),
                                  .output_error = entry.output_error()});
  }
  return analysis;
}

v1::CacheReport CacheToProto(const CacheReport& report) {
  v1::CacheReport message;
  message.set_module(report.name);
  message.set_key_scale(report.scales.key);
  message.set_value_scale(report.scales.value);
  message.set_key_spread(report.key_spread);
  message.set_value_spread(report.value_spread);
  return message;
}

void WriteSizes(const Report& report, v1::JobResult& result) {
  result.set_bits_per_weight(report.bits_per_weight);
  result.set_bytes_original(report.bytes_original);
  result.set_bytes_quantized(report.bytes_quantized);
  if (report.bytes_quantized > 0) {
    result.set_compression_ratio(static_cast<double>(report.bytes_original) /
                                 static_cast<double>(report.bytes_quantized));
  }
  for (const auto& [stage, seconds] : report.seconds) {
    v1::StageTime* entry = result.add_stage_times();
    entry->set_stage(ToProto(stage));
    *entry->mutable_run_time() = ToProto(absl::Seconds(seconds));
  }
  *result.mutable_run_time() = ToProto(absl::Seconds(report.seconds_total));
  result.set_peak_memory_bytes(report.peak_rss_bytes);
}

}  // namespace

v1::Stage ToProto(Stage stage) { return ToWire(kStages, stage, v1::STAGE_UNSPECIFIED); }

Stage FromProto(v1::Stage stage) { return FromWire(kStages, stage).value_or(Stage::kOpen); }

v1::Progress ToProto(const ProgressReport& report) {
  v1::Progress progress;
  progress.set_stage(ToProto(report.stage));
  progress.set_blocks_done(report.blocks_done);
  progress.set_blocks_total(report.blocks_total);
  progress.set_tokens(report.tokens);
  progress.set_bytes_read(report.bytes_read);
  progress.set_bytes_written(report.bytes_written);
  if (report.eta_seconds > 0) {
    *progress.mutable_remaining_time() = ToProto(absl::Seconds(report.eta_seconds));
  }
  return progress;
}

ProgressReport FromProto(const v1::Progress& progress) {
  return {.stage = FromProto(progress.stage()),
          .blocks_done = progress.blocks_done(),
          .blocks_total = progress.blocks_total(),
          .tokens = progress.tokens(),
          .bytes_read = progress.bytes_read(),
          .bytes_written = progress.bytes_written(),
          .eta_seconds = absl::ToDoubleSeconds(FromProto(progress.remaining_time()))};
}

v1::LayerReport ToProto(const LayerReport& report) {
  v1::LayerReport message;
  message.set_module(report.name);
  message.set_out_features(report.out_features);
  message.set_in_features(report.in_features);
  message.set_method(report.method);
  message.set_bits(report.bits);
  message.set_group_size(report.group_size);
  message.set_symmetric(report.symmetric);
  message.set_scale_rule(ToWireByName(kScaleRules, report.scale_rule));
  message.set_granularity(ToWireByName(kGranularities, report.granularity));
  message.set_activations(ToWireByName(kActivations, report.activations));
  for (const auto& [name, value] : report.figures) (*message.mutable_figures())[name] = value;
  message.set_weight_snr_db(report.weight_snr_db);
  if (report.relative_output_error) {
    message.set_relative_output_error(*report.relative_output_error);
  }
  *message.mutable_run_time() = ToProto(absl::Seconds(report.seconds));
  if (report.analysis) *message.mutable_analysis() = AnalysisToProto(*report.analysis);
  return message;
}

LayerReport FromProto(const v1::LayerReport& message) {
  LayerReport report{
      .name = message.module(),
      .out_features = message.out_features(),
      .in_features = message.in_features(),
      .method = message.method(),
      .bits = message.bits(),
      .group_size = message.group_size(),
      .symmetric = message.symmetric(),
      .scale_rule = std::string(NameFromWire(kScaleRules, message.scale_rule())),
      .granularity = std::string(NameFromWire(kGranularities, message.granularity())),
      .activations = std::string(NameFromWire(kActivations, message.activations())),
      .weight_snr_db = message.weight_snr_db(),
      .relative_output_error = std::nullopt,
      .figures = {},
      .seconds = absl::ToDoubleSeconds(FromProto(message.run_time()))};
  if (message.has_relative_output_error()) {
    report.relative_output_error = message.relative_output_error();
  }
  for (const auto& [name, value] : message.figures()) report.figures.emplace_back(name, value);
  std::sort(report.figures.begin(), report.figures.end());  // a map on the wire has no order
  if (message.has_analysis()) report.analysis = AnalysisFromProto(message.analysis());
  return report;
}

v1::ArtifactFile ToProto(const SealedFile& file) {
  v1::ArtifactFile message;
  message.set_path(file.path);
  message.set_bytes(file.bytes);
  message.set_sha256(file.sha256);
  return message;
}

SealedFile FromProto(const v1::ArtifactFile& file) {
  return {.path = file.path(), .bytes = file.bytes(), .sha256 = file.sha256()};
}

v1::JobResult ToProto(const Report& report) {
  v1::JobResult result;
  for (const SealedFile& file : report.files) *result.add_files() = ToProto(file);
  for (const Json& entry : report.resolved_recipe) {
    *result.add_resolved_recipe() = ResolvedFromJson(entry);
  }
  for (const CacheReport& entry : report.cache) *result.add_cache() = CacheToProto(entry);
  result.set_engine_version(report.engine_version);
  result.set_model_name(report.model_name);
  result.set_model_digest(report.model_fingerprint);
  result.set_calibration_digest(report.calibration_digest);
  result.set_evaluation_digest(report.evaluation_digest);
  if (report.evaluation) *result.mutable_evaluation() = EvaluationToProto(*report.evaluation);
  result.mutable_gate()->set_passed(report.gate.passed);
  for (const std::string& line : report.gate.missed) result.mutable_gate()->add_missed(line);
  for (const std::string& line : report.gate.limits) result.mutable_gate()->add_limits(line);
  WriteSizes(report, result);
  result.set_family(report.family);
  result.set_parameters(report.parameters);
  result.set_format(report.format);
  result.set_backend(BackendByName(report.backend));
  result.set_isa(report.isa);
  result.set_compute(ToWireByName(kComputeTypes, report.compute));
  result.set_calibration_tokens(report.calibration_tokens);
  result.set_calibration_seed(report.calibration_seed);
  for (const std::string& warning : report.warnings) result.add_warnings(warning);
  return result;
}

v1::JobError ToProto(const absl::Status& status) {
  const ReasonRow& row = RowOf(ReasonOf(status).value_or(Reason::kInternal));
  v1::JobError error;
  error.set_reason(std::string(row.name));
  error.set_message(std::string(status.message()));
  error.set_user_fault(row.fault == Fault::kUser);
  error.set_code(static_cast<int>(row.code));
  for (const Violation& violation : ViolationsOf(status)) {
    v1::JobError::Violation* entry = error.add_violations();
    entry->set_where(violation.where);
    entry->set_got(violation.got);
    entry->set_wanted(violation.wanted);
  }
  return error;
}

absl::Status FromProto(const v1::JobError& error) {
  std::vector<Violation> violations;
  for (const auto& entry : error.violations()) {
    violations.push_back({.where = entry.where(), .got = entry.got(), .wanted = entry.wanted()});
  }
  return ErrorFromParts(error.reason(), error.message(), std::move(violations));
}

}  // namespace quantd
