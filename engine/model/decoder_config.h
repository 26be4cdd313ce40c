// Reads config.json of the families that share the llama shape: pre-norm blocks of attention and a
// gated MLP.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "absl/status/statusor.h"
#include "base/json.h"
#include "engine/model/model_spec.h"

namespace quantd {

// What differs between these families, and what a config that leaves a key out means.
struct DecoderTraits {
  enum class Bias {
    kNever,
    kOnQkv,
    kOnAllIfConfigured
  };  // of attention; the last reads attention_bias
  enum class Sliding {
    kNever,
    kEveryBlock,
    kByBlock
  };  // the last reads use_sliding_window, layer_types, …

  std::string_view family = {};
  std::optional<int64_t> kv_heads = std::nullopt;  // as many as heads if empty
  std::optional<int64_t> head_dim = std::nullopt;  // hidden / heads if empty
  int64_t max_positions = 2048;
  Bias attention_bias = Bias::kNever;
  bool mlp_bias_if_configured = false;
  bool qk_norm = false;
  Sliding sliding = Sliding::kNever;
};

// Everything of ModelSpec but `dtype` and `parameters`. `config` comes from outside: every number
// is checked against a range. Errors: MODEL_CORRUPT naming every key that is wrong,
// MODEL_UNSUPPORTED naming every feature that we lack.
absl::StatusOr<ModelSpec> ParseDecoder(const Json& config, const DecoderTraits& traits);

}  // namespace quantd
