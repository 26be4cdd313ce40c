#include "engine/gguf/model_keys.h"

#include <cmath>
#include <numbers>

#include "absl/strings/str_cat.h"
#include "engine/gguf/architectures.h"

namespace quantd {
namespace {

uint32_t U32(int64_t value) { return static_cast<uint32_t>(value); }
float F32(double value) { return static_cast<float>(value); }

// What cos and sin are multiplied by with longrope.
double LongRopeAttentionFactor(const RopeSpec& rope) {
  if (rope.attention_factor.has_value()) return *rope.attention_factor;
  if (rope.factor <= 1) return 1;
  return std::sqrt(1 + std::log(rope.factor) /
                           std::log(static_cast<double>(rope.original_max_positions)));
}

void AddRope(const std::string& prefix, const RopeSpec& rope, KeyValues& keys) {
  keys.AddU32(prefix + "rope.dimension_count", U32(rope.dims));
  keys.AddF32(prefix + "rope.freq_base", F32(rope.theta));
  const std::string scaling = prefix + "rope.scaling.";
  if (rope.scaling == RopeSpec::Scaling::kLinear) {
    keys.AddText(scaling + "type", "linear");
    keys.AddF32(scaling + "factor", F32(rope.factor));
  }
  if (rope.scaling == RopeSpec::Scaling::kYarn) {
    keys.AddText(scaling + "type", "yarn");
    keys.AddF32(scaling + "factor", F32(rope.factor));
    keys.AddU32(scaling + "original_context_length", U32(rope.original_max_positions));
    // Readers multiply by 1 + ln(factor) / 10 themselves.
    if (rope.attention_factor.has_value()) {
      keys.AddF32(scaling + "attn_factor",
                  F32(*rope.attention_factor / (1.0 + 0.1 * std::log(rope.factor))));
    }
  }
  if (rope.scaling == RopeSpec::Scaling::kLongRope) {
    keys.AddU32(scaling + "original_context_length", U32(rope.original_max_positions));
    keys.AddF32(scaling + "attn_factor", F32(LongRopeAttentionFactor(rope)));
  }
}

void AddAttention(const std::string& prefix, const ModelSpec& model, KeyValues& keys) {
  keys.AddU32(prefix + "attention.head_count", U32(model.heads));
  keys.AddU32(prefix + "attention.head_count_kv", U32(model.kv_heads));
  keys.AddU32(prefix + "attention.key_length", U32(model.head_dim));
  keys.AddU32(prefix + "attention.value_length", U32(model.head_dim));
  const char* epsilon = model.norm_kind == NormKind::kRms ? "attention.layer_norm_rms_epsilon"
                                                          : "attention.layer_norm_epsilon";
  keys.AddF32(prefix + epsilon, F32(model.norm_epsilon));
  if (FindGgufArchitecture(model.family)->window_period > 0) {
    keys.AddU32(prefix + "attention.sliding_window",
                U32(model.blocks[0].sliding_window.value_or(0)));
  }
  if (model.attention_softcap > 0) {
    keys.AddF32(prefix + "attn_logit_softcapping", F32(model.attention_softcap));
  }
  if (model.logit_softcap > 0) {
    keys.AddF32(prefix + "final_logit_softcapping", F32(model.logit_softcap));
  }
}

void AddExperts(const std::string& prefix, const ModelSpec& model, KeyValues& keys) {
  const BlockSpec& block = model.blocks[0];
  if (!block.mixture.has_value()) return;
  keys.AddU32(prefix + "expert_count", U32(block.mixture->experts));
  keys.AddU32(prefix + "expert_used_count", U32(block.mixture->top_k));
  keys.AddU32(prefix + "expert_feed_forward_length",
              U32(block.Find(LinearRole::kUp, 0)->out_features));
}

std::vector<float> Llama3Factors(const RopeSpec& rope) {
  std::vector<float> factors;
  const auto context = static_cast<double>(rope.original_max_positions);
  for (int64_t i = 0; i < rope.dims; i += 2) {
    const double exponent = static_cast<double>(i) / static_cast<double>(rope.dims);
    const double wave = 2 * std::numbers::pi * std::pow(rope.theta, exponent);
    double factor = 1;
    if (wave > context / rope.low_freq_factor) {
      factor = rope.factor;
    } else if (wave >= context / rope.high_freq_factor) {
      const double smooth =
          (context / wave - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor);
      factor = 1 / ((1 - smooth) / rope.factor + smooth);
    }
    factors.push_back(F32(factor));
  }
  return factors;
}

}  // namespace

void AddModel(const ModelDescription& description, KeyValues& keys) {
  const ModelSpec& model = description.model;
  const std::string architecture(FindGgufArchitecture(model.family)->name);
  const std::string prefix = architecture + ".";
  keys.AddText("general.architecture", architecture);
  keys.AddText("general.type", "model");
  keys.AddText("general.name", description.name);
  keys.AddU32("general.file_type", description.file_type);
  keys.AddU32("general.quantization_version", 2);
  keys.AddU32(prefix + "block_count", U32(static_cast<int64_t>(model.blocks.size())));
  keys.AddU32(prefix + "context_length", U32(model.max_positions));
  keys.AddU32(prefix + "embedding_length", U32(model.hidden));
  keys.AddU32(prefix + "feed_forward_length", U32(model.intermediate));
  AddAttention(prefix, model, keys);
  AddExperts(prefix, model, keys);
  keys.AddU32(prefix + "vocab_size", U32(model.vocabulary));
  if (model.family == "gpt_neox") {
    keys.AddBool(prefix + "use_parallel_residual", model.blocks[0].parallel);
  }
  if (model.rope.dims > 0) AddRope(prefix, model.rope, keys);
  if (model.local_rope.has_value()) {
    keys.AddF32(prefix + "rope.freq_base_swa", F32(model.local_rope->theta));
  }
}

std::vector<ConstantTensor> RopeFactors(const RopeSpec& rope) {
  if (rope.scaling == RopeSpec::Scaling::kLlama3) {
    return {{"rope_freqs.weight", Llama3Factors(rope)}};
  }
  if (rope.scaling != RopeSpec::Scaling::kLongRope) return {};
  return {{"rope_factors_long.weight", {rope.long_factors.begin(), rope.long_factors.end()}},
          {"rope_factors_short.weight", {rope.short_factors.begin(), rope.short_factors.end()}}};
}

}  // namespace quantd
