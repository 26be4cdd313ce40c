// Reads config.json of the families that share the llama shape: blocks of attention and an MLP with
// tensors named as Llama's. What a family has otherwise it changes in the result.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "absl/status/statusor.h"
#include "base/json.h"
#include "engine/model/rope_config.h"
#include "engine/types/model_spec.h"

namespace quantd {

// What differs between these families, and what a config that leaves a key out means.
struct DecoderTraits {
  enum class Bias {
    kNever,
    kOnQkv,
    kOnQkvIfConfigured,
    kOnAllIfConfigured
  };  // of attention; the last two read `attention_bias_key`
  enum class Sliding {
    kNever,
    kEveryBlock,
    kFromBlock,  // where use_sliding_window says so: layer_types, or from max_window_layers on
    kPattern     // layer_types, or all but every sliding_window_pattern-th block
  };

  std::string_view family = {};
  std::optional<int64_t> kv_heads = std::nullopt;  // as many as heads if empty
  std::optional<int64_t> head_dim = std::nullopt;  // hidden / heads if empty
  int64_t max_positions = 2048;
  Bias attention_bias = Bias::kNever;
  std::string_view attention_bias_key = "attention_bias";
  bool attention_bias_default = false;
  bool mlp_bias_if_configured = false;
  bool qk_norm = false;
  Sliding sliding = Sliding::kNever;
  std::optional<int64_t> sliding_window = 4096;  // none if empty
  int64_t sliding_pattern = 2;
  bool tied_embeddings = false;
  std::string_view activation_key = "hidden_act", activation = "silu";
  std::string_view epsilon_key = "rms_norm_eps";
  double epsilon = 1e-6;
  RopeTraits rope = {};
};

// Everything of ModelSpec but `dtype` and `parameters`. `config` comes from outside: every number
// is checked against a range. Errors: MODEL_CORRUPT naming every key that is wrong,
// MODEL_UNSUPPORTED naming every feature that we lack.
absl::StatusOr<ModelSpec> ParseDecoder(const Json& config, const DecoderTraits& traits);

}  // namespace quantd
