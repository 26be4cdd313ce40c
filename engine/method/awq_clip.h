// Rounding by a range that is cut: AWQ's clip search, through the groups' own blocks of X^T X, and
// AutoAWQ's way of rounding.
#pragma once

#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/method/registry.h"

namespace quantd {

// What the clip search reads of the calibration data.
StatisticsNeeds AwqClipNeeds(const Scheme& scheme);

// Method::prepare: the blocks of X^T X / T where the scheme clips.
absl::StatusOr<std::shared_ptr<const Prepared>> PrepareAwqClip(const Scheme& scheme,
                                                               const InputStatistics* statistics,
                                                               const MethodContext& context);

// Method::quantize. With option clip, each group is cut to p times its largest magnitude, p = 1,
// 0.95, .., 0.55 being the one with the least D B D^T, and rounded by its range; without, rounded
// by its range alone. The range is AutoAWQ's with option reference. MODEL_NOT_FINITE naming row and
// column.
absl::Status QuantizeAwqClip(const WeightRows& weight, const Scheme& scheme,
                             const Prepared* prepared, const MethodContext& context,
                             QuantizedRows* out);

}  // namespace quantd
