#include "engine/types/request.h"

#include <array>
#include <utility>
#include <vector>

#include "base/error.h"

namespace quantd {
namespace {

constexpr double kHuge = 1e18;
constexpr int64_t kMaxCount = int64_t{1} << 40;

constexpr std::array<std::pair<ComputeType, std::string_view>, 3> kComputeTypes = {
    {{ComputeType::kAuto, "auto"}, {ComputeType::kF32, "f32"}, {ComputeType::kBF16, "bf16"}}};

void WriteOptional(Json& json, std::string_view key, const std::optional<double>& value) {
  if (value.has_value()) json[std::string(key)] = *value;
}

std::optional<double> ReadOptional(JsonFields& fields, std::string_view key) {
  const bool given = fields.Has(key);
  const double value = fields.Number(key, 0, 0, kHuge);
  return given ? std::optional(value) : std::nullopt;
}

uint64_t ReadSeed(JsonFields& fields) {
  return static_cast<uint64_t>(fields.Integer("seed", 0, 0, INT64_MAX));
}

// Reads the sections of a request and gathers the problems of all of them.
class RequestReader {
 public:
  // Calls read(fields) for the object under `key`, when there is one.
  template <typename Read>
  void Section(JsonFields& parent, std::string_view key, Read read) {
    const Json* value = parent.Value(key);
    if (value == nullptr) return;
    JsonFields fields(*value, key);
    read(fields);
    Collect(fields.Finish());
  }
  void Collect(const absl::Status& status) {
    for (Violation& violation : ViolationsOf(status)) violations_.push_back(std::move(violation));
  }
  absl::Status Finish() {
    if (violations_.empty()) return absl::OkStatus();
    return MakeError(Reason::kInvalidField, "refused", std::move(violations_));
  }

 private:
  std::vector<Violation> violations_;
};

void ReadResources(JsonFields& fields, ResourceRequest& resources) {
  resources.backend = fields.String("backend", resources.backend);
  resources.threads = static_cast<int>(fields.Integer("threads", 0, 0, 4096));
  resources.max_memory_bytes = fields.Integer("max_memory_bytes", 0, 0, INT64_MAX);
  const std::string compute = fields.String("compute", "auto");
  bool known = false;
  for (const auto& [type, name] : kComputeTypes) {
    if (name == compute) {
      resources.compute = type;
      known = true;
    }
  }
  if (!known) fields.Wrong("compute", compute, "auto, f32 or bf16");
}

}  // namespace

std::string_view NameOf(ComputeType compute) {
  for (const auto& [type, name] : kComputeTypes) {
    if (type == compute) return name;
  }
  return "";
}

Json ToJson(const QuantizeRequest& request) {
  Json gate = Json::object();
  WriteOptional(gate, "max_perplexity_ratio", request.gate.max_perplexity_ratio);
  WriteOptional(gate, "max_mean_kl", request.gate.max_mean_kl);
  WriteOptional(gate, "min_top1_agreement", request.gate.min_top1_agreement);
  Json json = {{"model_folder", request.model_folder},
               {"output_folder", request.output_folder},
               {"recipe", ToJson(request.recipe)},
               {"calibration",
                {{"text", request.calibration.text},
                 {"text_field", request.calibration.text_field},
                 {"chat_template", request.calibration.chat_template},
                 {"samples", request.calibration.samples},
                 {"tokens_per_sample", request.calibration.tokens_per_sample},
                 {"seed", request.calibration.seed},
                 {"statistics_folder", request.calibration.statistics_folder},
                 {"save_statistics_folder", request.calibration.save_statistics_folder}}},
               {"evaluation",
                {{"enabled", request.evaluation.enabled},
                 {"text", request.evaluation.text},
                 {"text_field", request.evaluation.text_field},
                 {"chat_template", request.evaluation.chat_template},
                 {"windows", request.evaluation.windows},
                 {"tokens_per_window", request.evaluation.tokens_per_window},
                 {"logits_windows", request.evaluation.logits_windows},
                 {"analyze", request.evaluation.analyze}}},
               {"gate", std::move(gate)},
               {"output",
                {{"format", request.output.format},
                 {"loader", request.output.loader},
                 {"tensor_parallel", request.output.tensor_parallel},
                 {"sync", request.output.sync},
                 {"shard_bytes", request.output.shard_bytes}}},
               {"resources",
                {{"backend", request.resources.backend},
                 {"threads", request.resources.threads},
                 {"max_memory_bytes", request.resources.max_memory_bytes},
                 {"compute", NameOf(request.resources.compute)}}}};
  if (!request.model_roots.empty()) json["model_roots"] = request.model_roots;
  return json;
}

absl::StatusOr<QuantizeRequest> QuantizeRequestFromJson(const Json& json) {
  QuantizeRequest request;
  RequestReader reader;
  JsonFields fields(json, "");
  request.model_folder = fields.String("model_folder", "");
  request.model_roots = fields.Strings("model_roots");
  request.output_folder = fields.String("output_folder", "");
  if (const Json* recipe = fields.Value("recipe")) {
    auto parsed = RecipeFromJson(*recipe);
    reader.Collect(parsed.status());
    if (parsed.ok()) request.recipe = *std::move(parsed);
  }
  reader.Section(fields, "calibration", [&](JsonFields& section) {
    auto& calibration = request.calibration;
    calibration.text = section.String("text", calibration.text);
    calibration.text_field = section.String("text_field", "");
    calibration.chat_template = section.String("chat_template", "");
    calibration.samples = section.Integer("samples", calibration.samples, 0, kMaxCount);
    calibration.tokens_per_sample =
        section.Integer("tokens_per_sample", calibration.tokens_per_sample, 2, kMaxCount);
    calibration.seed = ReadSeed(section);
    calibration.statistics_folder = section.String("statistics_folder", "");
    calibration.save_statistics_folder = section.String("save_statistics_folder", "");
  });
  reader.Section(fields, "evaluation", [&](JsonFields& section) {
    auto& evaluation = request.evaluation;
    evaluation.enabled = section.Bool("enabled", evaluation.enabled);
    evaluation.text = section.String("text", evaluation.text);
    evaluation.text_field = section.String("text_field", "");
    evaluation.chat_template = section.String("chat_template", "");
    evaluation.windows = section.Integer("windows", evaluation.windows, 0, kMaxCount);
    evaluation.tokens_per_window =
        section.Integer("tokens_per_window", evaluation.tokens_per_window, 2, kMaxCount);
    evaluation.logits_windows = section.Integer("logits_windows", 0, 0, 64);
    evaluation.analyze = section.Bool("analyze", false);
  });
  reader.Section(fields, "gate", [&](JsonFields& section) {
    request.gate.max_perplexity_ratio = ReadOptional(section, "max_perplexity_ratio");
    request.gate.max_mean_kl = ReadOptional(section, "max_mean_kl");
    request.gate.min_top1_agreement = ReadOptional(section, "min_top1_agreement");
  });
  reader.Section(fields, "output", [&](JsonFields& section) {
    auto& output = request.output;
    output.format = section.String("format", output.format);
    output.loader = section.String("loader", output.loader);
    output.tensor_parallel = section.Integer("tensor_parallel", output.tensor_parallel, 1, 1024);
    output.sync = section.Bool("sync", output.sync);
    output.shard_bytes = section.Integer("shard_bytes", output.shard_bytes, 1 << 20, INT64_MAX);
  });
  reader.Section(fields, "resources",
                 [&](JsonFields& section) { ReadResources(section, request.resources); });
  reader.Collect(fields.Finish());
  QD_RETURN_IF_ERROR(reader.Finish());
  return request;
}

}  // namespace quantd
