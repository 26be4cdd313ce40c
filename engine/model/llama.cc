// Llama and the families that differ from it by a few traits.
#include "engine/model/decoder_config.h"
#include "engine/model/families.h"

namespace quantd {

// Llama 1 to 3 (arXiv 2302.13971, 2307.09288, 2407.21783) and what keeps its shape: TinyLlama,
// SmolLM, Yi.
absl::StatusOr<ModelSpec> ParseLlama(const Json& config) {
  return ParseDecoder(config, {.family = "llama",
                               .max_positions = 2048,
                               .attention_bias = DecoderTraits::Bias::kOnAllIfConfigured,
                               .mlp_bias_if_configured = true});
}

// Mistral (arXiv 2310.06825): every block sees a sliding window, unless the config says null.
absl::StatusOr<ModelSpec> ParseMistral(const Json& config) {
  return ParseDecoder(config, {.family = "mistral",
                               .kv_heads = 8,
                               .max_positions = 4096 * 32,
                               .sliding = DecoderTraits::Sliding::kEveryBlock});
}

// Qwen2 and Qwen2.5 (arXiv 2407.10671): q, k and v have biases; blocks from max_window_layers on
// may see a window only.
absl::StatusOr<ModelSpec> ParseQwen2(const Json& config) {
  return ParseDecoder(config, {.family = "qwen2",
                               .kv_heads = 32,
                               .max_positions = 32768,
                               .attention_bias = DecoderTraits::Bias::kOnQkv,
                               .sliding = DecoderTraits::Sliding::kFromBlock});
}

// Qwen3, dense (arXiv 2505.09388): an RMSNorm on every head of q and k before rope, and a head size
// of its own.
absl::StatusOr<ModelSpec> ParseQwen3(const Json& config) {
  return ParseDecoder(config, {.family = "qwen3",
                               .kv_heads = 32,
                               .head_dim = 128,
                               .max_positions = 32768,
                               .attention_bias = DecoderTraits::Bias::kOnAllIfConfigured,
                               .qk_norm = true,
                               .sliding = DecoderTraits::Sliding::kFromBlock});
}

}  // namespace quantd
