// Gemma (arXiv 2403.08295), Gemma 2 (2408.00118) and Gemma 3 (2503.19786), text: norms multiply by
// gain + 1, embeddings are scaled, GELU in its tanh form. Gemma 2 adds norms behind attention and
// MLP, capped scores and logits, windows in every other block; Gemma 3 norms on the heads of q and
// k, windows in five blocks of six with a rope of their own.
#include <cmath>
#include <utility>

#include "base/error.h"
#include "engine/model/config_reader.h"
#include "engine/model/decoder_config.h"
#include "engine/model/families.h"
#include "engine/model/spec_parts.h"

namespace quantd {
namespace {

// Four norms: before and behind attention, before and behind the MLP.
void NormAround(BlockSpec& block) {
  block.norm(NormRole::kAttentionOut).gain = block.prefix + "post_attention_layernorm.weight";
  block.norm(NormRole::kMlp).gain = block.prefix + "pre_feedforward_layernorm.weight";
  block.norm(NormRole::kMlpOut).gain = block.prefix + "post_feedforward_layernorm.weight";
}

struct Caps {
  std::optional<double> attention, logits;  // what a config that leaves them out means
};

absl::Status ReadCaps(const Json& config, const Caps& caps, ModelSpec& model) {
  ConfigReader reader(config);
  const double scalar = reader.Positive("query_pre_attn_scalar", 256.0).value_or(256.0);
  model.attention_scale = 1.0 / std::sqrt(scalar);
  model.attention_softcap = reader.Positive("attn_logit_softcapping", caps.attention).value_or(0);
  model.logit_softcap = reader.Positive("final_logit_softcapping", caps.logits).value_or(0);
  if (reader.fields().Bool("use_bidirectional_attention", false)) {
    reader.Unsupported("use_bidirectional_attention", "true", "false");
  }
  return reader.Finish();
}

constexpr RopeKinds kGemma3Ropes = {
    .full_theta = 1e6, .sliding_theta = 10000.0, .sliding_theta_key = "rope_local_base_freq"};

}  // namespace

absl::StatusOr<ModelSpec> ParseGemma(const Json& config) {
  QD_ASSIGN_OR_RETURN(
      ModelSpec model,
      ParseDecoder(config, {.family = "gemma",
                            .kv_heads = 16,
                            .head_dim = 256,
                            .max_positions = 8192,
                            .attention_bias = DecoderTraits::Bias::kOnAllIfConfigured,
                            .tied_embeddings = true,
                            .activation = "gelu_pytorch_tanh"}));
  UseGemmaNorms(model);
  return model;
}

absl::StatusOr<ModelSpec> ParseGemma2(const Json& config) {
  QD_ASSIGN_OR_RETURN(
      ModelSpec model,
      ParseDecoder(config, {.family = "gemma2",
                            .kv_heads = 4,
                            .head_dim = 256,
                            .max_positions = 8192,
                            .attention_bias = DecoderTraits::Bias::kOnAllIfConfigured,
                            .sliding = DecoderTraits::Sliding::kPattern,
                            .tied_embeddings = true,
                            .activation_key = "hidden_activation",
                            .activation = "gelu_pytorch_tanh"}));
  UseGemmaNorms(model);
  for (BlockSpec& block : model.blocks) NormAround(block);
  QD_RETURN_IF_ERROR(ReadCaps(config, {.attention = 50.0, .logits = 30.0}, model));
  return model;
}

absl::StatusOr<ModelSpec> ParseGemma3Text(const Json& config) {
  QD_ASSIGN_OR_RETURN(const Json full, WithRopeOf(config, "full_attention", kGemma3Ropes));
  QD_ASSIGN_OR_RETURN(ModelSpec model,
                      ParseDecoder(full, {.family = "gemma3_text",
                                          .kv_heads = 4,
                                          .head_dim = 256,
                                          .max_positions = 131072,
                                          .attention_bias = DecoderTraits::Bias::kOnAllIfConfigured,
                                          .qk_norm = true,
                                          .sliding = DecoderTraits::Sliding::kPattern,
                                          .sliding_pattern = 6,
                                          .tied_embeddings = true,
                                          .activation_key = "hidden_activation",
                                          .activation = "gelu_pytorch_tanh"}));
  UseGemmaNorms(model);
  for (BlockSpec& block : model.blocks) NormAround(block);
  QD_RETURN_IF_ERROR(ReadCaps(config, {.attention = std::nullopt, .logits = std::nullopt}, model));
  QD_ASSIGN_OR_RETURN(const Json sliding, WithRopeOf(config, "sliding_attention", kGemma3Ropes));
  QD_RETURN_IF_ERROR(UseLocalRope(sliding, model));
  return model;
}

}  // namespace quantd
