// DeepSeek-V2 and V3 (arXiv 2405.04434, 2412.19437): q, k and v from narrow latents; experts in
// groups beside shared ones, dense blocks first. V3 scores experts by a sigmoid with a correction.
#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "engine/model/config_reader.h"
#include "engine/model/decoder_config.h"
#include "engine/model/families.h"
#include "engine/model/mixture_parts.h"
#include "engine/model/spec_parts.h"

namespace quantd {
namespace {

using Limits = ConfigReader;

// What a config that leaves a key out means.
struct Defaults {
  std::string_view family;
  int64_t q_rank;
  LateMixtures mixtures;
};

struct Latent {
  LatentAttentionSpec spec;
  int64_t rotated = 64;
  bool biases = false;  // of what reads and writes the stream
};

Latent ReadLatent(ConfigReader& reader, int64_t q_rank) {
  Latent latent;
  const bool one_linear =
      reader.fields().Has("q_lora_rank") && reader.fields().Value("q_lora_rank") == nullptr;
  latent.spec.q_rank = one_linear ? 0 : reader.Optional({"q_lora_rank"}, q_rank, Limits::kWidest);
  latent.spec.kv_rank = reader.Optional({"kv_lora_rank"}, 512, Limits::kWidest);
  latent.spec.plain = reader.Optional({"qk_nope_head_dim"}, 128, Limits::kWidestHead / 2);
  latent.rotated = reader.Optional({"qk_rope_head_dim"}, 64, Limits::kWidestHead / 2);
  latent.spec.values = reader.Optional({"v_head_dim"}, 128, Limits::kWidestHead);
  latent.biases = reader.fields().Bool("attention_bias", false);
  if (latent.spec.values > latent.spec.plain + latent.rotated) {
    reader.Unsupported("v_head_dim", absl::StrCat(latent.spec.values),
                       "at most the width of a head of q");
  }
  return latent;
}

// Latent attention in the place of the block's own. Its inner inputs are numbered behind all
// others.
void UseLatentAttention(const ModelSpec& model, const Latent& latent, int index, BlockSpec& block) {
  BlockSpec attention;
  attention.prefix = block.prefix;
  const LatentAttentionSpec& spec = *model.latent;
  const int64_t d = model.hidden, q = model.heads * model.head_dim;
  int next = 0;
  for (const LinearSpec& linear : block.linears) next = std::max(next, linear.input + 1);
  const auto add = [&](const char* name, LinearRole role, int64_t out, int64_t in, int input) {
    return &AddLinear(attention, index, absl::StrCat("self_attn.", name), role, {out, in}, input);
  };
  if (spec.q_rank == 0) {
    add("q_proj", LinearRole::kQ, q, d, 0);
  } else {
    add("q_a_proj", LinearRole::kQDown, spec.q_rank, d, 0)->has_bias = latent.biases;
    add("q_b_proj", LinearRole::kQUp, q, spec.q_rank, next++);
    block.norm(NormRole::kQ).gain = block.prefix + "self_attn.q_a_layernorm.weight";
  }
  block.norm(NormRole::kK).gain = block.prefix + "self_attn.kv_a_layernorm.weight";
  add("kv_a_proj_with_mqa", LinearRole::kKvDown, spec.kv_rank + latent.rotated, d, 0)->has_bias =
      latent.biases;
  add("kv_b_proj", LinearRole::kKvUp, model.heads * (spec.plain + spec.values), spec.kv_rank, next);
  add("o_proj", LinearRole::kO, d, model.heads * spec.values, 1)->has_bias = latent.biases;
  for (LinearSpec& linear : block.linears) {
    const bool of_attention = linear.role == LinearRole::kQ || linear.role == LinearRole::kK ||
                              linear.role == LinearRole::kV || linear.role == LinearRole::kO;
    if (!of_attention) attention.linears.push_back(std::move(linear));
  }
  block.linears = std::move(attention.linears);
}

// Scores are scaled once more where YaRN stretches (mscale_all_dim).
double ScoreScale(const ModelSpec& model) {
  const double plain = 1.0 / std::sqrt(static_cast<double>(model.head_dim));
  const RopeSpec& rope = model.rope;
  if (rope.scaling != RopeSpec::Scaling::kYarn || rope.factor <= 1) return plain;
  const double stretch = 0.1 * rope.mscale_all_dim.value_or(0) * std::log(rope.factor) + 1.0;
  return plain * stretch * stretch;
}

// What the two generations have in common; the mixture's scores are left to them.
absl::StatusOr<ModelSpec> Parse(const Json& config, const Defaults& defaults, MixtureSpec mixture) {
  ConfigReader reader(config);
  const Latent latent = ReadLatent(reader, defaults.q_rank);
  const LateMixtures mixtures = ReadLateMixtures(reader, defaults.mixtures);
  if (reader.Optional({"moe_layer_freq"}, 1, Limits::kMostLayers) != 1) {
    reader.Unsupported("moe_layer_freq", "another step", "1");
  }
  QD_RETURN_IF_ERROR(reader.Finish());
  // The rope's head is the rotated part; each head has a key of its own.
  Json changed = config;
  changed["head_dim"] = latent.rotated;
  changed.erase("num_key_value_heads");
  QD_ASSIGN_OR_RETURN(
      ModelSpec model,
      ParseDecoder(changed,
                   {.family = defaults.family,
                    .max_positions = 4096,
                    .mlp_bias_if_configured = true,
                    .rope = {.interleaved = reader.fields().Bool("rope_interleave", true)}}));
  model.latent = latent.spec;
  model.head_dim = latent.spec.plain + latent.rotated;
  model.attention_scale = ScoreScale(model);
  UseLateMixtures(model, mixtures, std::move(mixture));
  for (size_t i = 0; i < model.blocks.size(); ++i) {
    UseLatentAttention(model, latent, static_cast<int>(i), model.blocks[i]);
  }
  return model;
}

}  // namespace

absl::StatusOr<ModelSpec> ParseDeepseekV2(const Json& config) {
  ConfigReader reader(config);
  MixtureSpec mixture = ReadMixture(reader, {"n_routed_experts"}, 64, 6);
  mixture.group_best = 1;
  const std::string method = reader.fields().String("topk_method", "greedy");
  if (method == "group_limited_greedy") {
    ReadGroups(reader, mixture);
  } else if (method != "greedy") {
    reader.Unsupported("topk_method", "\"" + method + "\"", "greedy or group_limited_greedy");
  }
  mixture.scale = reader.Positive("routed_scaling_factor", 1.0).value_or(1.0);
  mixture.normalized = false;
  QD_RETURN_IF_ERROR(reader.Finish());
  return Parse(config,
               {.family = "deepseek_v2",
                .q_rank = 1536,
                .mixtures = {.first = 0, .shared = 2, .width = 1407}},
               std::move(mixture));
}

absl::StatusOr<ModelSpec> ParseDeepseekV3(const Json& config) {
  ConfigReader reader(config);
  MixtureSpec mixture = ReadMixture(reader, {"n_routed_experts", "num_local_experts"}, 256, 8);
  mixture.scores = MixtureSpec::Scores::kSigmoid;
  mixture.groups = 8;
  mixture.top_groups = 4;
  mixture.scale = 2.5;
  ReadGroups(reader, mixture);
  QD_RETURN_IF_ERROR(reader.Finish());
  return Parse(config,
               {.family = "deepseek_v3",
                .q_rank = 1536,
                .mixtures = {.first = 3, .shared = 1, .width = 2048}},
               std::move(mixture));
}

}  // namespace quantd
