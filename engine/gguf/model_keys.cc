#include "engine/gguf/model_keys.h"

#include <cmath>
#include <numbers>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "engine/gguf/tensor_names.h"

namespace quantd {
namespace {

uint32_t U32(int64_t value) { return static_cast<uint32_t>(value); }
float F32(double value) { return static_cast<float>(value); }

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
    keys.AddF32(scaling + "yarn_beta_fast", F32(rope.beta_fast));
    keys.AddF32(scaling + "yarn_beta_slow", F32(rope.beta_slow));
    // Readers multiply by 1 + ln(factor) / 10 themselves.
    if (rope.attention_factor.has_value()) {
      keys.AddF32(scaling + "attn_factor",
                  F32(*rope.attention_factor / (1.0 + 0.1 * std::log(rope.factor))));
    }
  }
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
  keys.AddU32(prefix + "attention.head_count", U32(model.heads));
  keys.AddU32(prefix + "attention.head_count_kv", U32(model.kv_heads));
  keys.AddU32(prefix + "attention.key_length", U32(model.head_dim));
  keys.AddU32(prefix + "attention.value_length", U32(model.head_dim));
  keys.AddF32(prefix + "attention.layer_norm_rms_epsilon", F32(model.norm_epsilon));
  keys.AddU32(prefix + "vocab_size", U32(model.vocabulary));
  AddRope(prefix, model.rope, keys);
}

absl::Status CheckModel(const ModelSpec& model) {
  const GgufArchitecture* architecture = FindGgufArchitecture(model.family);
  const auto refuse = [&](std::string where, std::string got, std::string wanted) {
    return MakeError(Reason::kFormatCannotHold, "gguf cannot hold the model",
                     Violation{std::move(where), std::move(got), std::move(wanted)});
  };
  if (architecture == nullptr) {
    return refuse("model_type", model.family, "llama, mistral, qwen2 or qwen3");
  }
  const RopeSpec& rope = model.rope;
  if (rope.scaling == RopeSpec::Scaling::kLlama3 && architecture->name != "llama") {
    return refuse("rope_scaling", "llama3 in the family " + model.family, "it in llama");
  }
  if (rope.mscale.has_value() || rope.mscale_all_dim.has_value() || !rope.truncate) {
    return refuse("rope_scaling", "yarn with mscale or truncate", "yarn without");
  }
  return absl::OkStatus();
}

std::vector<std::string> ModelWarnings(const ModelSpec& model) {
  for (const BlockSpec& block : model.blocks) {
    if (!block.sliding_window.has_value() || *block.sliding_window >= model.max_positions) continue;
    return {absl::StrCat("readers of the GGUF file attend to all positions; the model looks back ",
                         *block.sliding_window, ": they differ on longer contexts")};
  }
  return {};
}

std::vector<float> RopeFactors(const RopeSpec& rope) {
  std::vector<float> factors;
  if (rope.scaling != RopeSpec::Scaling::kLlama3) return factors;
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

}  // namespace quantd
