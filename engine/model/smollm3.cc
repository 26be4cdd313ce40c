// SmolLM3 (Hugging Face, 2025): the llama shape, without positions in every fourth block (NoPE,
// arXiv 2305.19466).
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "engine/model/config_reader.h"
#include "engine/model/decoder_config.h"
#include "engine/model/families.h"

namespace quantd {
namespace {

using Limits = ConfigReader;

// By block, whether positions are rotated in it: a 1 in no_rope_layers says that they are.
std::vector<bool> ReadRotated(ConfigReader& reader, size_t blocks) {
  std::vector<bool> rotated(blocks);
  const int64_t interval = reader.Optional({"no_rope_layer_interval"}, 4, Limits::kMostLayers);
  for (size_t i = 0; i < blocks; ++i) rotated[i] = (static_cast<int64_t>(i) + 1) % interval != 0;
  const Json* listed = reader.fields().Value("no_rope_layers");
  if (listed == nullptr) return rotated;
  if (!listed->is_array() || listed->size() < blocks) {
    reader.fields().Wrong("no_rope_layers", "another value",
                          absl::StrCat("a 0 or a 1 for each of ", blocks, " blocks"));
    return rotated;
  }
  for (size_t i = 0; i < blocks; ++i) rotated[i] = listed->at(i) != 0;
  return rotated;
}

}  // namespace

absl::StatusOr<ModelSpec> ParseSmolLm3(const Json& config) {
  ConfigReader reader(config);
  const int64_t layers = reader.Required({"num_hidden_layers"}, Limits::kMostLayers);
  const std::vector<bool> rotated = ReadRotated(reader, static_cast<size_t>(layers));
  QD_RETURN_IF_ERROR(reader.Finish());
  // A window, where it is used, is in the blocks without positions.
  Json changed = config;
  if (reader.fields().Value("layer_types") == nullptr) {
    for (size_t i = 0; i < rotated.size(); ++i) {
      changed["layer_types"][i] = rotated[i] ? "full_attention" : "sliding_attention";
    }
  }
  QD_ASSIGN_OR_RETURN(
      ModelSpec model,
      ParseDecoder(changed, {.family = "smollm3",
                             .kv_heads = 4,
                             .max_positions = 32768,
                             .attention_bias = DecoderTraits::Bias::kOnAllIfConfigured,
                             .mlp_bias_if_configured = true,
                             .sliding = DecoderTraits::Sliding::kFromBlock,
                             .sliding_window = std::nullopt,
                             .tied_embeddings = true,
                             .rope = {.theta = 2e6}}));
  for (size_t i = 0; i < rotated.size(); ++i) model.blocks[i].no_rope = !rotated[i];
  return model;
}

}  // namespace quantd
