// EXAONE 4 (arXiv 2507.11407): norms behind attention and MLP, not before, and of the heads of q
// and k; of models with windows in three blocks of four, the others know no positions.
#include "base/error.h"
#include "engine/model/decoder_config.h"
#include "engine/model/families.h"
#include "engine/model/spec_parts.h"

namespace quantd {

absl::StatusOr<ModelSpec> ParseExaone4(const Json& config) {
  Json changed = config;
  // Published models say "LLLG" there, beside layer_types, which go first.
  if (config.contains("layer_types") && !config.at("layer_types").is_null()) {
    changed.erase("sliding_window_pattern");
  }
  QD_ASSIGN_OR_RETURN(ModelSpec model,
                      ParseDecoder(changed, {.family = "exaone4",
                                             .kv_heads = 32,
                                             .max_positions = 2048,
                                             .qk_norm = true,
                                             .sliding = DecoderTraits::Sliding::kPattern,
                                             .sliding_pattern = 4,
                                             .epsilon = 1e-5}));
  const auto window = config.find("sliding_window");
  const bool windows = window == config.end() || !window->is_null();
  for (BlockSpec& block : model.blocks) {
    NormBehind(block);
    block.no_rope = windows && !block.sliding_window.has_value();
  }
  return model;
}

}  // namespace quantd
