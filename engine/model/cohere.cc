// Command R (Cohere) and Command R7B: attention and MLP beside each other behind one LayerNorm
// without a bias, rope of neighbouring pairs, scaled logits. The newer one (arXiv 2504.00698) has
// windows in three blocks of four, and no positions in the others.
#include "base/error.h"
#include "engine/model/config_reader.h"
#include "engine/model/decoder_config.h"
#include "engine/model/families.h"

namespace quantd {
namespace {

// Attention and MLP read the same norm.
void Join(BlockSpec& block) {
  block.parallel = true;
  block.norm(NormRole::kMlp) = {};
  for (LinearSpec& linear : block.linears) {
    if (linear.role == LinearRole::kGate || linear.role == LinearRole::kUp) linear.input = 0;
    if (linear.role == LinearRole::kDown) linear.input = 2;
  }
}

absl::StatusOr<ModelSpec> Parse(const Json& config, DecoderTraits traits) {
  traits.max_positions = 8192;
  traits.attention_bias = DecoderTraits::Bias::kOnAllIfConfigured;
  traits.tied_embeddings = true;
  traits.epsilon_key = "layer_norm_eps";
  traits.epsilon = 1e-5;
  traits.rope.interleaved = true;
  QD_ASSIGN_OR_RETURN(ModelSpec model, ParseDecoder(config, traits));
  ConfigReader reader(config);
  model.norm_kind = NormKind::kLayer;
  model.logit_scale = reader.Positive("logit_scale", 0.0625).value_or(1.0);
  if (reader.fields().Bool("use_qk_norm", false)) {
    reader.Unsupported("use_qk_norm", "true",
                       "false: a norm of its own for each head is not built");
  }
  QD_RETURN_IF_ERROR(reader.Finish());
  for (BlockSpec& block : model.blocks) Join(block);
  return model;
}

}  // namespace

absl::StatusOr<ModelSpec> ParseCohere(const Json& config) {
  return Parse(config, {.family = "cohere", .rope = {.theta = 5e5}});
}

absl::StatusOr<ModelSpec> ParseCohere2(const Json& config) {
  QD_ASSIGN_OR_RETURN(ModelSpec model, Parse(config, {.family = "cohere2",
                                                      .sliding = DecoderTraits::Sliding::kPattern,
                                                      .sliding_pattern = 4}));
  for (BlockSpec& block : model.blocks) block.no_rope = !block.sliding_window.has_value();
  return model;
}

}  // namespace quantd
