// Llama 1 to 3 (arXiv 2302.13971, 2307.09288, 2407.21783) and what keeps its shape: TinyLlama,
// SmolLM, Yi.
#include "engine/model/decoder_config.h"
#include "engine/model/families.h"

namespace quantd {

absl::StatusOr<ModelSpec> ParseLlama(const Json& config) {
  return ParseDecoder(config, {.family = "llama",
                               .max_positions = 2048,
                               .attention_bias = DecoderTraits::Bias::kOnAllIfConfigured,
                               .mlp_bias_if_configured = true});
}

}  // namespace quantd
