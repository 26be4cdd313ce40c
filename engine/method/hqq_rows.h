// The rows of a linear under hqq: which weights make a group, and one group after the other through
// the solver.
#pragma once

#include "absl/status/status.h"
#include "engine/method/half_quadratic.h"
#include "engine/method/registry.h"

namespace quantd {

enum class HqqSolver { kSearch, kHalfQuadratic, kAdmm };

// The options of a resolved scheme.
struct HqqSettings {
  HqqSolver solver = HqqSolver::kSearch;
  RealZeroCodes codes;
  HalfQuadratic iteration;
  bool stop_together = false;  // all groups after the same number of updates
  bool across_rows = false;    // groups lie along columns (axis 0)
  bool round_start = false;

  explicit HqqSettings(const Scheme& scheme);
  int most() const { return codes.high - codes.low; }
  bool all_rows() const { return stop_together || across_rows; }
};

// Method::quantize. With axis 0 every weight has the scale and zero of its group beside it: out's
// groups are of one weight, and the first N / group_size rows have each of them once.
absl::Status QuantizeHqq(const WeightRows& weight, const Scheme& scheme, const Prepared* prepared,
                         const MethodContext& context, QuantizedRows* out);

}  // namespace quantd
