// Mistral (arXiv 2310.06825): every block sees a sliding window, unless the config says null.
#include "engine/model/decoder_config.h"
#include "engine/model/families.h"

namespace quantd {

absl::StatusOr<ModelSpec> ParseMistral(const Json& config) {
  return ParseDecoder(config, {.family = "mistral",
                               .kv_heads = 8,
                               .max_positions = 4096 * 32,
                               .sliding = DecoderTraits::Sliding::kEveryBlock});
}

}  // namespace quantd
