// Qwen3, dense (arXiv 2505.09388): an RMSNorm on every head of q and k before rope, and a head size
// of its own.
#include "engine/model/decoder_config.h"
#include "engine/model/families.h"

namespace quantd {

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
