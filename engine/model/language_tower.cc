// Vision-language models whose language tower is a model of another family behind `text_config`:
// LLaVA (arXiv 2304.08485) and Gemma 3. The tower is quantized and calibrated by text; what is
// beside it is carried over byte for byte.
#include <utility>

#include "base/error.h"
#include "engine/model/config_reader.h"
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

}  // namespace

absl::StatusOr<ModelSpec> ParseLanguageTower(const Json& config) {
  ConfigReader reader(config);
  const std::string family = reader.fields().String("model_type", "");
  const std::string architecture = reader.ReadArchitecture();
  const Json* text = reader.fields().Value("text_config");
  if (text == nullptr || !text->is_object()) {
    reader.fields().Wrong("text_config", "nothing", "the config of the language model");
  }
  QD_RETURN_IF_ERROR(reader.Finish());

  JsonFields inner(*text, "config.json:text_config");
  const std::string type = inner.String("model_type", family == "gemma3" ? "gemma3_text" : "llama");
  const Family* tower = FindFamily(type);
  if (tower == nullptr || tower->parse == ParseLanguageTower) {
    return MakeError(Reason::kModelUnsupported, "the model has features that are not supported",
                     Violation{"config.json:text_config.model_type", "\"" + type + "\"",
                               "a language model of a family that is known"});
  }
  Json whole = ShapeOf(type);
  for (const auto& [key, value] : text->items()) whole[key] = value;
  QD_ASSIGN_OR_RETURN(ModelSpec model, tower->parse(whole));
  model.family = family;
  model.architecture = architecture;
  return model;
}

}  // namespace quantd
