#include "engine/types/report.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "base/error.h"

namespace quantd {
namespace {

constexpr double kHuge = 1e300;
constexpr std::string_view kAtMost = "at most", kAtLeast = "at least";

constexpr std::string_view kInfinity = "Infinity";

// JSON has no infinite numbers, and a broken model has an infinite perplexity: the word that
// protobuf's mapping has for it.
Json FiniteOrWord(double value) { return std::isinf(value) ? Json(kInfinity) : Json(value); }

double NumberOrWord(JsonFields& fields, const char* key) {
  const Json* value = fields.Value(key);
  if (value != nullptr && *value == kInfinity) return std::numeric_limits<double>::infinity();
  return fields.Number(key, 0, 0, kHuge);
}

Json ToJson(const EvaluationResult& result) {
  Json json = {{"tokens", result.tokens},
               {"perplexity_original", FiniteOrWord(result.perplexity_original)},
               {"perplexity_quantized", FiniteOrWord(result.perplexity_quantized)},
               {"kl_mean", result.kl_mean},
               {"kl_p99", result.kl_p99},
               {"top1_agreement", result.top1_agreement}};
  const DivergenceHistogram& histogram = result.kl_histogram;
  if (!histogram.counts.empty()) {
    json["kl_histogram"] = {
        {"low", histogram.low}, {"high", histogram.high}, {"counts", histogram.counts}};
  }
  return json;
}

DivergenceHistogram ReadHistogram(JsonFields& fields) {
  DivergenceHistogram histogram;
  const Json* json = fields.Value("kl_histogram");
  if (json == nullptr) return histogram;
  JsonFields members(*json, "kl_histogram");
  histogram.low = members.Number("low", histogram.low, 1e-300, kHuge);
  histogram.high = members.Number("high", histogram.high, 1e-300, kHuge);
  const Json* counts = members.Value("counts");
  bool sound = members.FinishIgnoringUnknown().ok() && histogram.low < histogram.high &&
               counts != nullptr && counts->is_array() && counts->size() <= 10'000;
  for (size_t i = 0; sound && i < counts->size(); ++i) {
    sound = (*counts)[i].is_number_integer() && (*counts)[i].get<int64_t>() >= 0;
    if (sound) histogram.counts.push_back((*counts)[i].get<int64_t>());
  }
  if (!sound) fields.Wrong("kl_histogram", "something else", "{low, high, counts[]}");
  return histogram;
}

EvaluationResult ReadEvaluation(JsonFields& fields) {
  EvaluationResult result;
  result.tokens = fields.Integer("tokens", 0, 0, INT64_MAX);
  result.perplexity_original = NumberOrWord(fields, "perplexity_original");
  result.perplexity_quantized = NumberOrWord(fields, "perplexity_quantized");
  result.kl_mean = fields.Number("kl_mean", 0, -kHuge, kHuge);
  result.kl_p99 = fields.Number("kl_p99", 0, -kHuge, kHuge);
  result.top1_agreement = fields.Number("top1_agreement", 0, 0, 1);
  result.kl_histogram = ReadHistogram(fields);
  return result;
}

// Reads the members of one section of a report; a missing section reads as an empty one.
class ReportReader {
 public:
  explicit ReportReader(const Json& json) : json_(json) {}

  template <typename Read>
  void Section(const char* key, Read read) {
    if (!status_.ok()) return;
    const Json section = json_.value(key, Json::object());
    JsonFields fields(section, key);
    read(fields);
    status_.Update(fields.FinishIgnoringUnknown());
  }
  template <typename Read>
  void Each(const char* key, Read read) {
    const Json list = json_.value(key, Json::array());
    for (const Json& entry : list) {
      if (!status_.ok()) return;
      status_.Update(read(entry));
    }
  }
  absl::Status status() const { return status_; }

 private:
  const Json& json_;
  absl::Status status_;
};

void ReadIdentity(ReportReader& reader, Report& report) {
  reader.Section("model", [&](JsonFields& fields) {
    report.model_name = fields.String("name", "");
    report.model_fingerprint = fields.String("digest", "");
    report.family = fields.String("family", "");
    report.parameters = fields.Integer("parameters", 0, 0, INT64_MAX);
  });
  reader.Section("machine", [&](JsonFields& fields) {
    report.backend = fields.String("backend", "");
    report.isa = fields.String("isa", "");
    report.compute = fields.String("compute", "");
  });
  reader.Section("calibration", [&](JsonFields& fields) {
    report.calibration_digest = fields.String("dataset_digest", "");
    report.calibration_tokens = fields.Integer("tokens", 0, 0, INT64_MAX);
    report.calibration_seed = static_cast<uint64_t>(fields.Integer("seed", 0, 0, INT64_MAX));
  });
  reader.Section("size", [&](JsonFields& fields) {
    report.format = fields.String("format", "");
    report.bytes_original = fields.Integer("bytes_original", 0, 0, INT64_MAX);
    report.bytes_quantized = fields.Integer("bytes_quantized", 0, 0, INT64_MAX);
    report.bits_per_weight = fields.Number("bits_per_weight", 0, 0, kHuge);
  });
}

void ReadOutcome(ReportReader& reader, Report& report) {
  reader.Section("evaluation", [&](JsonFields& fields) {
    report.evaluation_digest = fields.String("dataset_digest", "");
    if (fields.Has("tokens")) report.evaluation = ReadEvaluation(fields);
  });
  reader.Section("gate", [&](JsonFields& fields) {
    report.gate.passed = fields.Bool("passed", true);
    report.gate.missed = fields.Strings("missed");
    report.gate.limits = fields.Strings("limits");
  });
  reader.Section("seconds", [&](JsonFields& fields) {
    for (const Stage stage :
         {Stage::kOpen, Stage::kCalibrate, Stage::kQuantize, Stage::kEvaluate, Stage::kWrite}) {
      report.seconds.emplace_back(stage, fields.Number(NameOf(stage), 0, 0, kHuge));
    }
    report.seconds_total = fields.Number("total", 0, 0, kHuge);
  });
  reader.Each("layers", [&](const Json& entry) {
    auto layer = LayerReportFromJson(entry);
    if (!layer.ok()) return layer.status();
    report.layers.push_back(*std::move(layer));
    return absl::OkStatus();
  });
  reader.Each("cache", [&](const Json& entry) {
    auto cache = CacheReportFromJson(entry);
    if (!cache.ok()) return cache.status();
    report.cache.push_back(*std::move(cache));
    return absl::OkStatus();
  });
  reader.Each("files", [&](const Json& entry) {
    auto file = SealedFileFromJson(entry);
    if (!file.ok()) return file.status();
    report.files.push_back(*std::move(file));
    return absl::OkStatus();
  });
}

}  // namespace

void DivergenceHistogram::Add(double divergence) {
  counts.resize(kBins);
  const double step = std::log10(high / low) / kBins;
  const double at = std::floor(std::log10(std::max(divergence, low) / low) / step);
  const double last = kBins - 1;
  ++counts[static_cast<size_t>(at <= last ? at : last)];
}

double DivergenceHistogram::Edge(size_t index) const {
  const auto bins = static_cast<double>(std::max<size_t>(counts.size(), 1));
  return low * std::pow(high / low, static_cast<double>(index) / bins);
}

Json ToJson(const Report& report) {
  Json evaluation = Json::object();
  if (report.evaluation.has_value()) {
    evaluation["dataset_digest"] = report.evaluation_digest;
    evaluation.update(ToJson(*report.evaluation));
  }
  Json seconds = Json::object();
  for (const auto& [stage, value] : report.seconds) seconds[std::string(NameOf(stage))] = value;
  seconds["total"] = report.seconds_total;
  Json layers = Json::array();
  for (const LayerReport& layer : report.layers) layers.push_back(ToJson(layer));
  Json files = Json::array();
  for (const SealedFile& file : report.files) files.push_back(ToJson(file));
  Json json = {
      {"schema", report.schema},
      {"engine_version", report.engine_version},
      {"model",
       {{"name", report.model_name},
        {"digest", report.model_fingerprint},
        {"family", report.family},
        {"parameters", report.parameters}}},
      {"machine", {{"backend", report.backend}, {"isa", report.isa}, {"compute", report.compute}}},
      {"recipe", ToJson(report.recipe)},
      {"resolved_recipe", report.resolved_recipe},
      {"calibration",
       {{"dataset_digest", report.calibration_digest},
        {"tokens", report.calibration_tokens},
        {"seed", report.calibration_seed}}},
      {"evaluation", std::move(evaluation)},
      {"gate",
       {{"passed", report.gate.passed},
        {"missed", report.gate.missed},
        {"limits", report.gate.limits}}},
      {"size",
       {{"format", report.format},
        {"bytes_original", report.bytes_original},
        {"bytes_quantized", report.bytes_quantized},
        {"bits_per_weight", report.bits_per_weight}}},
      {"seconds", std::move(seconds)},
      {"peak_rss_bytes", report.peak_rss_bytes},
      {"layers", std::move(layers)},
      {"files", std::move(files)},
      {"warnings", report.warnings}};
  for (const CacheReport& entry : report.cache) json["cache"].push_back(ToJson(entry));
  return json;
}

absl::StatusOr<Report> ReportFromJson(const Json& json) {
  Report report;
  JsonFields fields(json, "report");
  report.schema = static_cast<int>(fields.Integer("schema", 0, 1, 1));
  report.engine_version = fields.String("engine_version", "");
  report.peak_rss_bytes = fields.Integer("peak_rss_bytes", 0, 0, INT64_MAX);
  report.warnings = fields.Strings("warnings");
  QD_RETURN_IF_ERROR(fields.FinishIgnoringUnknown());
  if (const Json* recipe = fields.Value("recipe")) {
    QD_ASSIGN_OR_RETURN(report.recipe, RecipeFromJson(*recipe));
  }
  if (const Json* resolved = fields.Value("resolved_recipe")) report.resolved_recipe = *resolved;
  ReportReader reader(json);
  ReadIdentity(reader, report);
  ReadOutcome(reader, report);
  QD_RETURN_IF_ERROR(reader.status());
  return report;
}

GateVerdict CheckGate(const QualityGate& gate, const std::optional<EvaluationResult>& evaluation) {
  GateVerdict verdict;
  // Written so that a NaN misses the gate.
  const auto check = [&](std::string_view what, double got, std::string_view limit,
                         const std::optional<double>& wanted) {
    if (!wanted.has_value()) return;
    verdict.limits.push_back(absl::StrCat(ToAbsl(what), " ", ToAbsl(limit), " ", *wanted));
    if (!evaluation.has_value()) return;
    if (limit == kAtMost ? got <= *wanted : got >= *wanted) return;
    verdict.missed.push_back(
        absl::StrCat(ToAbsl(what), ": got ", got, ", wanted ", ToAbsl(limit), " ", *wanted));
  };
  const EvaluationResult result = evaluation.value_or(EvaluationResult{});
  check("perplexity ratio", result.perplexity_quantized / result.perplexity_original, kAtMost,
        gate.max_perplexity_ratio);
  check("mean KL", result.kl_mean, kAtMost, gate.max_mean_kl);
  check("top-1 agreement", result.top1_agreement, kAtLeast, gate.min_top1_agreement);
  if (!verdict.limits.empty() && !evaluation.has_value()) {
    verdict.missed.emplace_back("the gate needs an evaluation, and none was made");
  }
  verdict.passed = verdict.missed.empty();
  return verdict;
}

}  // namespace quantd
