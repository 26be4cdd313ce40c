// What is refused of many linears is one thing to mend: said once.
#pragma once

#include "absl/status/status.h"

namespace quantd {

// The error with violations of the same fault put together where they name modules of numbered
// blocks: "model.layers.*.mlp.up_proj and 2 other names (90 linears)". At most twenty stay, and how
// many more there are. What is OK, or names no modules, is returned as it is.
absl::Status Together(const absl::Status& status);

}  // namespace quantd
