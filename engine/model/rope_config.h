// Reads the rotary embedding from config.json.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "base/json.h"
#include "engine/types/model_spec.h"

namespace quantd {

// What a config that leaves a key out means.
struct RopeTraits {
  double theta = 10000.0;
  bool partial = false;  // whether partial_rotary_factor may rotate a part of each head
  std::optional<int64_t> original_max_positions = std::nullopt;  // of longrope
};

// Reads rope_theta and rope_scaling (its kind under "rope_type", or "type" in older files), or the
// newer rope_parameters that holds both. Features that we lack are appended to `unsupported`.
// MODEL_CORRUPT for values out of range.
absl::StatusOr<RopeSpec> ParseRope(const Json& config, int64_t head_dim, int64_t max_positions,
                                   std::vector<Violation>& unsupported,
                                   const RopeTraits& traits = {});

}  // namespace quantd
