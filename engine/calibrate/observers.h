// One int8 scale (and zero point) for all values of an input, chosen from what calibration saw of
// them.
#pragma once

#include <optional>
#include <string_view>

#include "engine/calibrate/statistics.h"
#include "engine/tensor/dtype.h"
#include "engine/types/scheme.h"

namespace quantd {

// Which range of values the codes are spread over; what lies outside is clipped. kMinMax: all that
// was seen. kPercentile: all but a share. kMse: the range with the least squared error. kKl: the
// one whose codes tell most of the distribution. docs/numerics.md has the formulas.
enum class ObserverRule { kMinMax, kPercentile, kMse, kKl };

std::string_view NameOf(ObserverRule rule);  // "minmax", "percentile", "mse", "kl"
std::optional<ObserverRule> ObserverRuleOf(std::string_view name);

struct ObserverOptions {
  ObserverRule rule = ObserverRule::kMinMax;
  double percentile = 99.99;  // with kPercentile: the share of values inside the range, in percent
  bool symmetric = true;      // zero point 0
  DType scale_dtype = DType::kF32;
};

// What the rule reads of the calibration data.
StatisticsNeeds ObserverNeeds(const ObserverOptions& options);

struct ObservedInput {
  StaticInput input;  // the scale is representable in scale_dtype
  // Of the values seen, the share outside the range; nothing without a histogram.
  std::optional<double> clipped_share;
};

// Deterministic; the order in which statistics were merged does not matter. Without any value,
// scale 1 and zero 0. Cost: up to 3 M operations (kMse, asymmetric 30 M).
ObservedInput Observe(const InputStatistics& statistics, const ObserverOptions& options);

// Mean over the values of the histogram, taken as even inside each bin, of (x - dequantized)^2.
double SquaredErrorOf(const Histogram& histogram, const StaticInput& input);

}  // namespace quantd
