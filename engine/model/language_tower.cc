// Vision-language models whose language tower is a model of another family behind `text_config`:
// LLaVA (arXiv 2304.08485), Gemma 3, Mistral 3, InternVL (2404.16821), Qwen2-VL to Qwen3-VL
// (2409.12191, 2511.21631). The tower is quantized and calibrated by text; what is beside it is
// carried over byte for byte.
#include <string>
#include <string_view>
#include <utility>

#include "absl/strings/match.h"
#include "base/error.h"
#include "engine/model/config_reader.h"
#include "engine/model/decoder_config.h"
#include "engine/model/families.h"
#include "engine/model/registry.h"

namespace quantd {
namespace {

// What text_config means where it leaves the shape out: the defaults of transformers' config class.
Json ShapeOf(const std::string& model_type) {
  if (model_type == "llama") {
    return {{"hidden_size", 4096},
            {"intermediate_size", 11008},
            {"num_hidden_layers", 32},
            {"num_attention_heads", 32},
            {"vocab_size", 32000}};
  }
  if (model_type == "mistral") {
    return {{"hidden_size", 4096},
            {"intermediate_size", 14336},
            {"num_hidden_layers", 32},
            {"num_attention_heads", 32},
            {"vocab_size", 32000}};
  }
  if (model_type == "gemma3_text") {
    return {{"hidden_size", 2304},
            {"intermediate_size", 9216},
            {"num_hidden_layers", 26},
            {"num_attention_heads", 8},
            {"vocab_size", 262208}};
  }
  return Json::object();
}

// Towers that no model of text alone has: their rope has a part for time, height and width each,
// which are one number for text.
struct Tower {
  std::string_view type;  // text_config's model_type
  DecoderTraits traits;
};
const DecoderTraits kQwen2Tower = {.kv_heads = 8,
                                   .max_positions = 32768,
                                   .attention_bias = DecoderTraits::Bias::kOnQkv,
                                   .sliding = DecoderTraits::Sliding::kFromBlock,
                                   .rope = {.theta = 1e6, .multimodal = true}};
const Tower kTowers[] = {
    {"qwen2_vl_text", kQwen2Tower},
    {"qwen2_5_vl_text", kQwen2Tower},
    {"qwen3_vl_text",
     {.kv_heads = 32,
      .head_dim = 128,
      .max_positions = 128000,
      .attention_bias = DecoderTraits::Bias::kOnAllIfConfigured,
      .qk_norm = true,
      .rope = {.theta = 5e6, .multimodal = true}}},
};

absl::StatusOr<ModelSpec> ParseTower(const std::string& type, const Json& text) {
  for (const Tower& tower : kTowers) {
    if (tower.type == type) return ParseDecoder(text, tower.traits);
  }
  const Family* family = FindFamily(type);
  if (family != nullptr && family->parse != ParseLanguageTower) return family->parse(text);
  return MakeError(Reason::kModelUnsupported, "the model has features that are not supported",
                   Violation{"config.json:text_config.model_type", "\"" + type + "\"",
                             "a language model of a family that is known"});
}

// The config of the tower: a level of its own, or, in older files of Qwen2-VL, the first one.
const Json* TextConfig(const std::string& family, const Json& config) {
  const auto text = config.find("text_config");
  if (text != config.end() && text->is_object()) return &*text;
  const bool flat = family == "qwen2_vl" || family == "qwen2_5_vl";
  return flat && config.contains("hidden_size") ? &config : nullptr;
}

// What text_config is where it does not say its model_type.
std::string DefaultTower(const std::string& family) {
  if (family == "gemma3") return "gemma3_text";
  if (family == "mistral3") return "mistral";
  return absl::StartsWith(family, "qwen") ? family + "_text" : "llama";
}

}  // namespace

absl::StatusOr<ModelSpec> ParseLanguageTower(const Json& config) {
  ConfigReader reader(config);
  const std::string family = reader.fields().String("model_type", "");
  const std::string architecture = reader.ReadArchitecture();
  const Json* text = TextConfig(family, config);
  if (text == nullptr) {
    reader.fields().Wrong("text_config", "nothing", "the config of the language model");
  }
  QD_RETURN_IF_ERROR(reader.Finish());

  JsonFields inner(*text, "config.json:text_config");
  const std::string type =
      text == &config ? DefaultTower(family) : inner.String("model_type", DefaultTower(family));
  Json whole = ShapeOf(type);
  for (const auto& [key, value] : text->items()) whole[key] = value;
  QD_ASSIGN_OR_RETURN(ModelSpec model, ParseTower(type, whole));
  // Either level may say that the output projection is the embedding.
  if (reader.fields().Bool("tie_word_embeddings", false) && !model.tied_embeddings) {
    model.tied_embeddings = true;
    model.head_tensor = model.embedding;
  }
  QD_RETURN_IF_ERROR(reader.Finish());
  model.family = family;
  model.architecture = architecture;
  // Its name in memory is another than in the checkpoint.
  model.carried_modules = {"lm_head"};
  return model;
}

}  // namespace quantd
