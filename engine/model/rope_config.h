// Reads the rotary embedding from config.json.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "base/json.h"
#include "engine/types/model_spec.h"

namespace quantd {

// What a config that leaves a key out means, and what of a config the family reads.
struct RopeTraits {
  double theta = 10000.0;
  bool partial = false;  // whether partial_rotary_factor may rotate a part of each head
  double partial_factor = 1.0;
  bool interleaved = false;
  // Of longrope, for families whose config has a field of that name beside the rope: it goes first.
  std::optional<int64_t> original_max_positions = std::nullopt;
  bool multimodal = false;  // "mrope", which for text alone is the plain rope
};

// Reads the rope as transformers 5 does: the parameters are rope_scaling, where it says anything,
// else rope_parameters; their kind is "rope_type", or "type" in older files; theta and the partial
// factor inside go before those beside. Features that we lack are appended to `unsupported`.
// MODEL_CORRUPT for values out of range.
absl::StatusOr<RopeSpec> ParseRope(const Json& config, int64_t head_dim, int64_t max_positions,
                                   std::vector<Violation>& unsupported,
                                   const RopeTraits& traits = {});

// Families with a rope for each kind of attention (Gemma 3, OLMo 3).
struct RopeKinds {
  double full_theta, sliding_theta;    // what a config that leaves them out means
  std::string_view sliding_theta_key;  // beside rope_theta; empty: there is none
};
// The config with the rope of `kind`, "full_attention" or "sliding_attention", as its only one:
// that of rope_parameters, changed, for full attention, by what rope_scaling says. As transformers
// 5 puts them together; MODEL_UNSUPPORTED where its releases differ.
absl::StatusOr<Json> WithRopeOf(const Json& config, std::string_view kind, const RopeKinds& kinds);
// Gives the blocks that see a window the rope of `config`. Errors: those of ParseRope and
// MODEL_UNSUPPORTED.
absl::Status UseLocalRope(const Json& config, ModelSpec& model);

}  // namespace quantd
