#include "engine/model/config_reader.h"

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "engine/tensor/float8_source.h"

namespace quantd {
namespace {

struct ActivationName {
  std::string_view name;
  Activation activation;
};
// The names of transformers.
constexpr ActivationName kActivations[] = {
    {"silu", Activation::kSilu},          {"swish", Activation::kSilu},
    {"gelu", Activation::kGelu},          {"gelu_new", Activation::kGeluTanh},
    {"gelu_fast", Activation::kGeluTanh}, {"gelu_pytorch_tanh", Activation::kGeluTanh},
    {"relu", Activation::kRelu},
};

}  // namespace

absl::Status CorruptConfig(const absl::Status& status) {
  return MakeError(Reason::kModelCorrupt, "config.json", ViolationsOf(status));
}

void ConfigReader::RefuseQuantized() {
  if (ReadFloat8Source(config_).has_value()) return;
  for (const std::string_view key : {"quantization_config", "compression_config"}) {
    if (fields_.Value(key) != nullptr) {
      Unsupported(key, "a model that is quantized already", "the original model, or one in FP8");
    }
  }
}

std::string ConfigReader::ReadArchitecture() {
  RefuseQuantized();
  const std::vector<std::string> architectures = fields_.Strings("architectures");
  if (architectures.empty()) return "";
  const std::string& name = architectures[0];
  const bool generates = absl::EndsWith(name, "ForCausalLM") ||
                         absl::EndsWith(name, "LMHeadModel") ||
                         absl::EndsWith(name, "ForConditionalGeneration");
  if (!generates) {
    Unsupported("architectures", "\"" + name + "\"", "a causal language model (…ForCausalLM)");
  }
  return name;
}

int64_t ConfigReader::Required(std::initializer_list<std::string_view> keys, int64_t high) {
  for (const std::string_view key : keys) {
    if (fields_.Value(key) != nullptr) return fields_.Integer(key, 1, 1, high);
  }
  fields_.Wrong(*keys.begin(), "nothing", "an integer");
  return 1;
}

int64_t ConfigReader::Optional(std::initializer_list<std::string_view> keys, int64_t fallback,
                               int64_t high) {
  for (const std::string_view key : keys) {
    if (fields_.Value(key) != nullptr) return fields_.Integer(key, fallback, 1, high);
  }
  return fallback;
}

std::optional<double> ConfigReader::Positive(std::string_view key, std::optional<double> fallback) {
  if (!fields_.Has(key)) return fallback;
  const double value = fields_.Number(key, 0.0, 0.0, 1e9);
  return value > 0 ? std::optional<double>(value) : std::nullopt;
}

Activation ConfigReader::ReadActivation(std::string_view key, std::string_view fallback) {
  const std::string name = fields_.String(key, fallback);
  for (const ActivationName& row : kActivations) {
    if (row.name == name) return row.activation;
  }
  std::string names;
  for (const ActivationName& row : kActivations) {
    absl::StrAppend(&names, names.empty() ? "" : ", ", ToAbsl(row.name));
  }
  Unsupported(key, "\"" + name + "\"", names);
  return Activation::kSilu;
}

void ConfigReader::CheckHeads(const ModelSpec& model) {
  if (model.heads % model.kv_heads != 0) {
    fields_.Wrong("num_key_value_heads", absl::StrCat(model.kv_heads),
                  absl::StrCat("a divisor of num_attention_heads, ", model.heads));
  }
  if (model.head_dim % 2 != 0 || model.head_dim > kWidestHead) {
    fields_.Wrong("head_dim", absl::StrCat(model.head_dim),
                  absl::StrCat("an even number up to ", kWidestHead));
  }
}

void ConfigReader::SplitHidden(ModelSpec& model) {
  if (model.hidden % model.heads != 0) {
    fields_.Wrong("num_attention_heads", absl::StrCat(model.heads),
                  absl::StrCat("a divisor of hidden_size, ", model.hidden));
  }
  model.head_dim = model.hidden / model.heads;
  CheckHeads(model);
}

void ConfigReader::Unsupported(std::string_view key, std::string_view got,
                               std::string_view wanted) {
  unsupported_.push_back(
      {absl::StrCat("config.json:", ToAbsl(key)), std::string(got), std::string(wanted)});
}

absl::Status ConfigReader::FinishValues() {
  const absl::Status status = fields_.FinishIgnoringUnknown();
  return status.ok() ? status : CorruptConfig(status);
}

absl::Status ConfigReader::Finish() {
  QD_RETURN_IF_ERROR(FinishValues());
  if (unsupported_.empty()) return absl::OkStatus();
  return MakeError(Reason::kModelUnsupported, "the model has features that are not supported",
                   std::move(unsupported_));
}

}  // namespace quantd
