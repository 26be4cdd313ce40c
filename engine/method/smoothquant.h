// SmoothQuant (arXiv 2211.10438): what is hard to quantize in the inputs is moved into the weights
// before int8.
#pragma once

#include <span>

#include "absl/status/statusor.h"
#include "engine/method/registry.h"

namespace quantd {

extern const Method kSmoothQuant;

// Method::fold: s_j = max|x_j|^alpha / max_n |w_nj|^(1 - alpha), at least 1e-5 each (equation 4),
// the maximum over all linears of the request. alpha: option `alpha`, or with `alpha_search` the
// one of 0, 0.05, …, 1 and "as it is" with the least expected error (docs/numerics.md). Empty for
// the inputs of o_proj and down_proj when option smooth_all is false. Figures: alpha.
absl::StatusOr<TransformChoice> ChooseSmoothing(const TransformRequest& request,
                                                const MethodContext& context);

}  // namespace quantd
