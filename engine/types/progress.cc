#include "engine/types/progress.h"

#include <array>
#include <cstdint>
#include <utility>

namespace quantd {
namespace {

constexpr std::array<std::pair<Stage, std::string_view>, 6> kStages = {
    {{Stage::kOpen, "open"},
     {Stage::kCalibrate, "calibrate"},
     {Stage::kQuantize, "quantize"},
     {Stage::kEvaluate, "evaluate"},
     {Stage::kWrite, "write"},
     {Stage::kDone, "done"}}};

constexpr double kHuge = 1e300;

}  // namespace

std::string_view NameOf(Stage stage) {
  for (const auto& [value, name] : kStages) {
    if (value == stage) return name;
  }
  return "";
}

std::optional<Stage> StageByName(std::string_view name) {
  for (const auto& [value, known] : kStages) {
    if (known == name) return value;
  }
  return std::nullopt;
}

Json ToJson(const ProgressReport& report) {
  return {{"stage", NameOf(report.stage)},       {"blocks_done", report.blocks_done},
          {"blocks_total", report.blocks_total}, {"tokens", report.tokens},
          {"bytes_read", report.bytes_read},     {"bytes_written", report.bytes_written},
          {"eta_seconds", report.eta_seconds}};
}

Json ToJson(const LayerReport& report) {
  Json json = {{"name", report.name},
               {"shape", {report.out_features, report.in_features}},
               {"method", report.method},
               {"bits", report.bits},
               {"group_size", report.group_size},
               {"symmetric", report.symmetric},
               {"scale_rule", report.scale_rule},
               {"granularity", report.granularity},
               {"activations", report.activations},
               {"weight_snr_db", report.weight_snr_db}};
  if (report.relative_output_error) json["relative_output_error"] = *report.relative_output_error;
  Json figures = Json::object();
  for (const auto& [name, value] : report.figures) figures[name] = value;
  if (!figures.empty()) json["figures"] = std::move(figures);
  if (report.analysis) json["analysis"] = ToJson(*report.analysis);
  json["seconds"] = report.seconds;
  return json;
}

Json ToJson(const SealedFile& file) {
  return {{"path", file.path}, {"bytes", file.bytes}, {"sha256", file.sha256}};
}

absl::StatusOr<ProgressReport> ProgressReportFromJson(const Json& json) {
  JsonFields fields(json, "progress");
  ProgressReport report;
  const auto stage = StageByName(fields.String("stage", "open"));
  if (!stage.has_value()) fields.Wrong("stage", "an unknown stage", "open … done");
  report.stage = stage.value_or(Stage::kOpen);
  report.blocks_done = fields.Integer("blocks_done", 0, 0, INT64_MAX);
  report.blocks_total = fields.Integer("blocks_total", 0, 0, INT64_MAX);
  report.tokens = fields.Integer("tokens", 0, 0, INT64_MAX);
  report.bytes_read = fields.Integer("bytes_read", 0, 0, INT64_MAX);
  report.bytes_written = fields.Integer("bytes_written", 0, 0, INT64_MAX);
  report.eta_seconds = fields.Number("eta_seconds", 0, 0, kHuge);
  if (absl::Status status = fields.FinishIgnoringUnknown(); !status.ok()) return status;
  return report;
}

absl::StatusOr<LayerReport> LayerReportFromJson(const Json& json) {
  JsonFields fields(json, "layer");
  LayerReport report;
  report.name = fields.String("name", "");
  const Json* shape = fields.Value("shape");
  const bool two = shape != nullptr && shape->is_array() && shape->size() == 2 &&
                   (*shape)[0].is_number_integer() && (*shape)[1].is_number_integer();
  if (!two) fields.Wrong("shape", "something else", "[out_features, in_features]");
  report.out_features = two ? (*shape)[0].get<int64_t>() : 0;
  report.in_features = two ? (*shape)[1].get<int64_t>() : 0;
  report.method = fields.String("method", "");
  report.bits = static_cast<int>(fields.Integer("bits", 0, 0, 16));
  report.group_size = fields.Integer("group_size", 0, 0, INT64_MAX);
  report.symmetric = fields.Bool("symmetric", true);
  report.scale_rule = fields.String("scale_rule", "");
  report.granularity = fields.String("granularity", "");
  report.activations = fields.String("activations", "none");
  if (const Json* figures = fields.Value("figures"); figures != nullptr && figures->is_object()) {
    for (const auto& [name, value] : figures->items()) {
      if (value.is_number()) report.figures.emplace_back(name, value.get<double>());
    }
  }
  report.weight_snr_db = fields.Number("weight_snr_db", 0, -kHuge, kHuge);
  if (fields.Has("relative_output_error")) {
    report.relative_output_error = fields.Number("relative_output_error", 0, 0, kHuge);
  }
  report.seconds = fields.Number("seconds", 0, 0, kHuge);
  if (const Json* analysis = fields.Value("analysis")) {
    QD_ASSIGN_OR_RETURN(report.analysis, LayerAnalysisFromJson(*analysis));
  }
  if (absl::Status status = fields.FinishIgnoringUnknown(); !status.ok()) return status;
  return report;
}

absl::StatusOr<SealedFile> SealedFileFromJson(const Json& json) {
  JsonFields fields(json, "file");
  SealedFile file;
  file.path = fields.String("path", "");
  file.bytes = fields.Integer("bytes", 0, 0, INT64_MAX);
  file.sha256 = fields.String("sha256", "");
  if (absl::Status status = fields.FinishIgnoringUnknown(); !status.ok()) return status;
  return file;
}

}  // namespace quantd
