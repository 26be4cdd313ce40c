// Rounding rows to codes by the rules of backend/rules.h alone: what rtn and int8 do, and what
// other methods end in.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/method/registry.h"

namespace quantd {

// Method::quantize for methods without more to them. `prepared` is what PrepareRoundToNearest made.
// MODEL_NOT_FINITE naming row and column (of `weight`, counted from 0).
absl::Status RoundToNearest(const WeightRows& weight, const Scheme& scheme,
                            const Prepared* prepared, const MethodContext& context,
                            QuantizedRows* out);

// Method::prepare: the importance for ScaleRule::kWeightedMse, and with it the group's own Gram
// blocks for kHessian.
absl::StatusOr<std::shared_ptr<const Prepared>> PrepareRoundToNearest(
    const Scheme& scheme, const InputStatistics* statistics, const MethodContext& context);

// What PrepareRoundToNearest reads of the calibration data.
StatisticsNeeds RoundToNearestNeeds(const Scheme& scheme);

// How much an error in each input channel counts: mean x^2 of the channel, plus 1 % of the mean
// over channels so that channels which calibration never saw do not come for free; scaled to a mean
// of 1. All ones when x was always zero.
std::vector<float> ImportanceOf(const InputStatistics& statistics);

// With a floating format and static activations: the scale of the inputs by the largest that
// calibration saw, into prepared.input and its figures.
void AddFloatingInput(const Scheme& scheme, const InputStatistics& statistics, Prepared& prepared);

// Row `index` in f32 into buffer[columns]; MODEL_NOT_FINITE naming row and column.
absl::Status WidenRow(const WeightRows& weight, int64_t index, const QuantizeKernels& kernels,
                      float* buffer);

// What one row adds to QuantizedRows::weight_energy and error_energy, `rounded` being it
// dequantized.
void AddEnergies(std::span<const float> row, std::span<const float> rounded, double* weight_energy,
                 double* error_energy);

}  // namespace quantd
