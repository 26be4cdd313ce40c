// GLM-4 (arXiv 2406.12793): half of each head is rotated, in neighbouring pairs; gate and up are
// one linear. The model of 2025 has norms behind attention and MLP too.
#include "base/error.h"
#include "engine/model/decoder_config.h"
#include "engine/model/families.h"
#include "engine/model/spec_parts.h"

namespace quantd {
namespace {

absl::StatusOr<ModelSpec> Parse(const Json& config, std::string_view family) {
  QD_ASSIGN_OR_RETURN(
      ModelSpec model,
      ParseDecoder(config,
                   {.family = family,
                    .kv_heads = 2,
                    .head_dim = 128,
                    .max_positions = 131072,
                    .attention_bias = DecoderTraits::Bias::kOnQkvIfConfigured,
                    .attention_bias_default = true,
                    .epsilon = 1.5625e-7,
                    .rope = {.partial = true, .partial_factor = 0.5, .interleaved = true}}));
  for (size_t i = 0; i < model.blocks.size(); ++i) {
    FuseGateUp(model, static_cast<int>(i), model.blocks[i]);
  }
  return model;
}

}  // namespace

absl::StatusOr<ModelSpec> ParseGlm(const Json& config) { return Parse(config, "glm"); }

absl::StatusOr<ModelSpec> ParseGlm4(const Json& config) {
  QD_ASSIGN_OR_RETURN(ModelSpec model, Parse(config, "glm4"));
  for (BlockSpec& block : model.blocks) {
    block.norm(NormRole::kAttentionOut).gain = block.prefix + "post_self_attn_layernorm.weight";
    block.norm(NormRole::kMlpOut).gain = block.prefix + "post_mlp_layernorm.weight";
  }
  return model;
}

}  // namespace quantd
