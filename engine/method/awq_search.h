// The choice of AWQ's scales: Method::fold of awq and its compositions.
#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "engine/method/awq_loss.h"
#include "engine/method/registry.h"

namespace quantd {

// The grid for linears with these inputs: s = mean|x|^alpha, with duo mean|x|^alpha / (w_mean^(1 -
// alpha) + 1e-4), divided by sqrt(max s * min s); channels that share a scale take the mean of
// theirs. `weight_means` is w_mean [K], read only with duo. The first candidate is no scaling.
std::vector<AwqCandidate> AwqCandidates(const TransformRequest& request,
                                        const AwqSearchSettings& settings,
                                        const std::vector<double>& weight_means);

// w_mean: per input channel, the mean over all rows of all linears of |w| / (absmax of its group +
// 1e-6).
absl::StatusOr<std::vector<double>> AwqWeightMeans(const TransformRequest& request,
                                                   const MethodContext& context);

// The candidate with the least loss, summed over the linears. Figures: "alpha", and "loss_ratio",
// its loss relative to that of no scaling. Memory: a panel of rows per thread.
absl::StatusOr<TransformChoice> ChooseAwqScales(const TransformRequest& request,
                                                const MethodContext& context);

}  // namespace quantd
