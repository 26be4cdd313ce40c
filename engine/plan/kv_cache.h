// What a plan says of an FP8 cache of keys and values.
#pragma once

#include <vector>

#include "absl/status/status.h"
#include "engine/plan/plan.h"

namespace quantd {

// Sets plan.calibrates, with a warning where no method asks for a calibration. FORMAT_CANNOT_HOLD
// for a format without a place for the scales, and for attention that its loaders do not know as
// one with a cache.
absl::Status PlanCache(const Recipe& recipe, Plan& plan);
// The tensors of the scales of a block: "model.layers.0.self_attn.k_scale" and ".v_scale".
std::vector<TensorInfo> CacheTensors(const BlockSpec& block, const ModelSpec& model);

}  // namespace quantd
