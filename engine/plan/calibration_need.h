// How much calibration text a plan needs where the request does not say.
#pragma once

#include <cstdint>

#include "engine/plan/plan.h"

namespace quantd {

// The most tokens that any kind of plan takes by default.
inline constexpr int64_t kMostCalibrationTokens = int64_t{128} * 512;

// Windows of `tokens_per_window` tokens: as many as the most demanding of the plan's linears needs,
// by its method's calibration_tokens and tokens_per_input (engine/method/registry.h), an expert's
// by its share of the tokens; no more than kMostCalibrationTokens, and at least 1. Measured
// figures: docs/recipe.md.
int64_t NeededWindows(const Plan& plan, KvCache cache, int64_t tokens_per_window);

}  // namespace quantd
