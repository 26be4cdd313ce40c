#include "engine/flags/quantize_flags.h"

#include <cmath>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/files.h"

namespace quantd {
namespace {

// Bytes, or a number with a unit: 5GB is 5e9, 5GiB 5 * 2^30. The description of the flag says so.
CLI::Validator SizeValue() {
  CLI::AsSizeValue size(/*kb_is_1000=*/true);
  size.description("");
  return size;
}

constexpr int64_t kMaxRecipeBytes = 1 << 20;
constexpr int64_t kMaxTemplateBytes = 1 << 20;
constexpr std::string_view kGroup = "Recipe";

// A text is sent to a process with another working folder, so paths become absolute here. What is
// called as uploads are, and is no file here, is a server's to find.
std::string AbsoluteText(const std::string& text) {
  if (text.starts_with("builtin:")) return text;
  if (text.starts_with("datasets/") && !std::filesystem::exists(text)) return text;
  return std::filesystem::absolute(text).lexically_normal().string();
}

}  // namespace

struct QuantizeFlags::Values {
  std::string recipe_file;
  std::optional<std::string> method, number_format, scale_rule, granularity, activations, propagate,
      kv_cache, rotate;
  std::optional<double> bits;
  std::optional<int64_t> group_size;
  bool symmetric = false, asymmetric = false;
  std::vector<std::string> overrides, skip, options;
  std::optional<std::string> calibration, evaluation, text_field, chat_template_file;
  std::optional<int64_t> samples, sequence_length, seed, evaluation_windows, logits_windows;
  bool no_evaluation = false, analyze = false;
  std::optional<double> gate_kl, gate_perplexity_ratio, gate_top1;
  std::optional<std::string> format, loader, backend, compute;
  std::optional<int64_t> shard_bytes, max_memory_bytes, tensor_parallel;
  std::string chat_template;  // what the file holds, once Apply has read it
};

namespace {

using Values = QuantizeFlags::Values;

// The flags of the default scheme, as the JSON that a recipe file would hold: one parser checks
// both.
Json SchemeOf(const Values& values) {
  Json scheme = Json::object();
  if (values.method) scheme["method"] = *values.method;
  if (values.bits) {
    // A whole number reads as one; what is none is refused by the parser, but for 1.58.
    const double bits = *values.bits;
    const bool whole = bits >= 0 && bits < 1e6 && bits == std::floor(bits);
    scheme["bits"] = whole ? Json(static_cast<int64_t>(bits)) : Json(bits);
  }
  if (values.number_format) scheme["number_format"] = *values.number_format;
  if (values.group_size) scheme["group_size"] = *values.group_size;
  if (values.granularity) scheme["granularity"] = *values.granularity;
  if (values.symmetric || values.asymmetric) scheme["symmetric"] = values.symmetric;
  if (values.scale_rule) scheme["scale_rule"] = *values.scale_rule;
  if (values.activations) scheme["activations"] = *values.activations;
  return scheme;
}

// With the recipe file's own options beneath, unless the method is another one.
absl::Status ApplyOptions(const Values& values, Json& scheme) {
  for (const std::string& text : values.options) {
    QD_RETURN_IF_ERROR(ParseOption(text, scheme["options"]));
  }
  return absl::OkStatus();
}

absl::Status ApplyRecipe(const Values& values, Recipe& recipe) {
  Json json = ToJson(recipe);
  if (!values.recipe_file.empty()) {
    QD_ASSIGN_OR_RETURN(const std::string text, ReadFile(values.recipe_file, kMaxRecipeBytes));
    QD_ASSIGN_OR_RETURN(const Recipe from_file, ParseRecipe(text));
    json = ToJson(from_file);
  }
  const Json scheme = SchemeOf(values);
  // Another method on the command line starts from that method's defaults.
  if (values.method && json["default"].value("method", *values.method) != *values.method) {
    json["default"] = Json::object();
  }
  if (values.bits) json["default"].erase("number_format");
  if (values.number_format) json["default"].erase("bits");
  json["default"].update(scheme);
  QD_RETURN_IF_ERROR(ApplyOptions(values, json["default"]));
  if (!values.skip.empty()) {
    for (const std::string& glob : values.skip) json["skip"].push_back(glob);
  }
  if (values.propagate) json["propagate"] = *values.propagate;
  if (values.kv_cache) json["kv_cache"] = *values.kv_cache;
  if (values.rotate) json["rotate"] = *values.rotate;
  QD_ASSIGN_OR_RETURN(recipe, RecipeFromJson(json, "recipe"));
  for (const std::string& text : values.overrides) {
    QD_ASSIGN_OR_RETURN(Override entry, ParseOverride(text));
    recipe.overrides.push_back(std::move(entry));
  }
  return absl::OkStatus();
}

void AddSchemeFlags(CLI::App& command, Values& values) {
  command.add_option("--recipe", values.recipe_file,
                     "Recipe file, YAML or JSON; flags override it");
  command.add_option("--method", values.method, "Quantization method (see `methods`); default rtn");
  command.add_option("--bits", values.bits,
                     "Bits per weight, 1 to 8; 1.58 for three levels (method hqq)");
  command.add_option(
      "--number-format", values.number_format,
      "What one weight is stored as, instead of --bits: fp8-e4m3, fp8-block, mxfp8, mxfp4, "
      "nvfp4, int2 to int8, or with --format gguf a block type or mixture (Q4_K_M)");
  command.add_option("--group-size", values.group_size,
                     "Inputs that share one scale, for example 128");
  command.add_option("--granularity", values.granularity, "tensor, channel or group");
  auto* symmetric = command.add_flag("--symmetric", values.symmetric, "No zero points");
  command.add_flag("--asymmetric", values.asymmetric, "Integer zero points")->excludes(symmetric);
  command.add_option("--scale-rule", values.scale_rule, "absmax, mse, weighted-mse or hessian");
  command.add_option("--activations", values.activations,
                     "none, dynamic or static: int8 per token or per tensor (method int8)");
  command
      .add_option("--option", values.options,
                  "NAME=VALUE, an option of the method (see `methods`); repeatable")
      ->allow_extra_args(false);
  command
      .add_option("--override", values.overrides,
                  "GLOB=METHOD[:KEY=VALUE]… or GLOB=skip; repeatable, later ones win")
      ->allow_extra_args(false);
  command
      .add_option("--skip", values.skip,
                  "Glob of modules to leave in 16 bit, beside lm_head; repeatable")
      ->allow_extra_args(false);
  command.add_option("--propagate", values.propagate,
                     "Weights that compute the activations of later blocks: original or quantized");
  command.add_option("--rotate", values.rotate,
                     "none, or hadamard: turn the residual stream first, so that outliers are "
                     "spread over all channels");
  command.add_option("--kv-cache", values.kv_cache,
                     "How the engine keeps keys and values: none (as computed) or fp8, with "
                     "calibrated scales");
}

void AddDataFlags(CLI::App& command, Values& values) {
  command.add_option("--calibration", values.calibration,
                     "Calibration text: a path (plain text, JSONL, JSON or CSV), or "
                     "builtin:calibration");
  command.add_option("--text-field", values.text_field,
                     "Field of the records of --calibration and --evaluation that holds a text or "
                     "messages; default: text, messages or conversations");
  command.add_option("--chat-template", values.chat_template_file,
                     "File of the Jinja template that turns messages into text; default: the "
                     "model's own");
  command.add_option("--samples", values.samples,
                     "Calibration windows; default: what the method needs (docs/texts.md)");
  command.add_option("--seq-len", values.sequence_length,
                     "Tokens of a window, of calibration and evaluation; default 512");
  command.add_option("--seed", values.seed,
                     "Order in which calibration windows are drawn; 0 keeps the text's order");
  command.add_option("--evaluation", values.evaluation,
                     "Evaluation text: a path, or builtin:evaluation");
  command.add_option("--eval-windows", values.evaluation_windows,
                     "Evaluation windows; default 64, 0 for all");
  command.add_flag("--no-evaluation", values.no_evaluation, "Do not measure the result");
  command.add_option("--logits-windows", values.logits_windows,
                     "Also write the logits of so many windows, to check a loader against");
  command.add_flag("--analyze", values.analyze,
                   "Also measure what protected channels and other levels would gain");
  command.add_option("--gate-kl", values.gate_kl,
                     "Fail when the mean KL is above this, nats per token");
  command.add_option("--gate-ppl-ratio", values.gate_perplexity_ratio,
                     "Fail when perplexity grows by more than this factor, for example 1.02");
  command.add_option("--gate-top1", values.gate_top1,
                     "Fail when top-1 agreement is below this, 0 to 1");
}

// How records are read is said of each text that is named; of both where none is.
void SayRecords(const Values& values, Json& said) {
  for (const auto& [section, text] : {std::pair("calibration", &values.calibration),
                                      std::pair("evaluation", &values.evaluation)}) {
    if (!text->has_value() && (values.calibration || values.evaluation)) continue;
    if (values.text_field) said[section]["text_field"] = *values.text_field;
    if (values.chat_template_file) said[section]["chat_template"] = values.chat_template;
  }
}

void AddOutputFlags(CLI::App& command, Values& values) {
  command.add_option(
      "--format", values.format,
      "Output format (see `formats`); default: the first of compressed-tensors, gptq, "
      "hqq, gguf and dequantized that holds the recipe");
  command.add_option(
      "--loader", values.loader,
      "Check the rules of this engine: transformers, transformers4, hqq, vllm, sglang, "
      "llama.cpp (see `formats`)");
  command.add_option("--tensor-parallel", values.tensor_parallel,
                     "Devices that the engine splits the model over, for its shape rules");
  command
      .add_option("--shard-bytes", values.shard_bytes,
                  "Largest size of one file, in bytes or as 5GB or 4GiB; splits a GGUF file too")
      ->transform(SizeValue())
      ->type_name("SIZE");
  command.add_option("--backend", values.backend, "cpu, cuda or any");
  command.add_option("--compute", values.compute,
                     "Precision of the forward pass: auto, f32 or bf16");
  command
      .add_option("--max-memory", values.max_memory_bytes,
                  "Refuse, and stop, above so much memory, in bytes or as 800MB or 2GiB; Gram "
                  "matrices that do not fit lie in files")
      ->transform(SizeValue())
      ->type_name("SIZE");
}

}  // namespace

QuantizeFlags::QuantizeFlags(CLI::App& command) : values_(std::make_unique<Values>()) {
  CLI::Option_group& group = *command.add_option_group(std::string(kGroup));
  AddSchemeFlags(group, *values_);
  AddDataFlags(*command.add_option_group("Data"), *values_);
  AddOutputFlags(*command.add_option_group("Output"), *values_);
}

QuantizeFlags::~QuantizeFlags() = default;

Json QuantizeFlags::Said() const {
  const Values& values = *values_;
  Json said = Json::object();
  const auto set = [&](const char* section, const char* key, const auto& value) {
    if (value.has_value()) said[section][key] = *value;
  };
  // A recipe file stands for a whole recipe.
  const bool whole = !values.recipe_file.empty();
  if (whole || !values.skip.empty()) said["recipe"]["skip"] = true;
  if (whole || values.propagate) said["recipe"]["propagate"] = true;
  if (whole || values.kv_cache) said["recipe"]["kv_cache"] = true;
  if (whole || values.rotate) said["recipe"]["rotate"] = true;
  if (values.calibration) said["calibration"]["text"] = AbsoluteText(*values.calibration);
  SayRecords(values, said);
  set("calibration", "samples", values.samples);
  set("calibration", "tokens_per_sample", values.sequence_length);
  set("calibration", "seed", values.seed);
  if (values.evaluation) said["evaluation"]["text"] = AbsoluteText(*values.evaluation);
  set("evaluation", "tokens_per_window", values.sequence_length);
  set("evaluation", "windows", values.evaluation_windows);
  set("evaluation", "logits_windows", values.logits_windows);
  if (values.no_evaluation) said["evaluation"]["enabled"] = false;
  if (values.analyze) said["evaluation"]["analyze"] = true;
  set("gate", "max_mean_kl", values.gate_kl);
  set("gate", "max_perplexity_ratio", values.gate_perplexity_ratio);
  set("gate", "min_top1_agreement", values.gate_top1);
  set("output", "format", values.format);
  set("output", "loader", values.loader);
  set("output", "tensor_parallel", values.tensor_parallel);
  set("output", "shard_bytes", values.shard_bytes);
  set("resources", "backend", values.backend);
  set("resources", "compute", values.compute);
  set("resources", "max_memory_bytes", values.max_memory_bytes);
  return said;
}

absl::Status QuantizeFlags::Apply(QuantizeRequest& request) const {
  const Values& values = *values_;
  std::vector<Violation> violations;
  const auto collect = [&](const absl::Status& status) {
    for (Violation& violation : ViolationsOf(status)) violations.push_back(std::move(violation));
    if (!status.ok() && ViolationsOf(status).empty()) {
      violations.push_back({.where = "", .got = std::string(status.message()), .wanted = ""});
    }
  };
  collect(ApplyRecipe(values, request.recipe));
  if (values.chat_template_file) {
    const auto text = ReadFile(*values.chat_template_file, kMaxTemplateBytes);
    collect(text.status());
    if (text.ok()) values_->chat_template = *text;
  }
  // The rest goes through the request's own reader, so ranges are checked in one place.
  Json json = ToJson(request);
  const Json said = Said();
  for (const auto& [section, keys] : said.items()) {
    if (section != "recipe") json[section].update(keys);
  }
  auto parsed = QuantizeRequestFromJson(json);
  collect(parsed.status());
  if (!violations.empty())
    return MakeError(Reason::kInvalidField, "refused", std::move(violations));
  request = *std::move(parsed);
  return absl::OkStatus();
}

}  // namespace quantd
