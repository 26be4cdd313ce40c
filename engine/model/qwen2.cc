// Qwen2 and Qwen2.5 (arXiv 2407.10671): q, k and v have biases; blocks from max_window_layers on
// may see a window only.
#include "engine/model/decoder_config.h"
#include "engine/model/families.h"

namespace quantd {

absl::StatusOr<ModelSpec> ParseQwen2(const Json& config) {
  return ParseDecoder(config, {.family = "qwen2",
                               .kv_heads = 32,
                               .max_positions = 32768,
                               .attention_bias = DecoderTraits::Bias::kOnQkv,
                               .sliding = DecoderTraits::Sliding::kFromBlock});
}

}  // namespace quantd
