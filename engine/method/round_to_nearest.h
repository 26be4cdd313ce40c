// Rounding rows to codes by the rules of backend/rules.h alone: what rtn and int8 do.
#pragma once

#include "absl/status/status.h"
#include "engine/backend/kernels.h"
#include "engine/calibrate/statistics.h"
#include "engine/scheme.h"
#include "engine/tensor/tensor.h"

namespace quantd {

// Method::quantize for methods without more to them. `statistics` is needed for kWeightedMse,
// ignored otherwise. MODEL_NOT_FINITE naming row and column (of `weight`, counted from 0).
absl::Status RoundToNearest(const WeightRows& weight, const Scheme& scheme,
                            const InputStatistics* statistics, const QuantizeKernels& kernels,
                            QuantizedRows* out);

// How much an error in each input channel counts: mean x^2 of the channel, plus 1 % of the mean
// over channels so that channels which calibration never saw do not come for free; scaled to a mean
// of 1. All ones when x was always zero.
std::vector<float> ImportanceOf(const InputStatistics& statistics);

// What RoundToNearest reads of the calibration data: moments, for ScaleRule::kWeightedMse alone.
StatisticsNeeds RoundToNearestNeeds(const Scheme& scheme);

}  // namespace quantd
