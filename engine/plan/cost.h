// What a plan will cost: an estimate of memory and time, and what gives way to a memory limit.
#pragma once

#include "absl/status/status.h"
#include "engine/plan/plan.h"

namespace quantd {

// Sets peak_memory_bytes and estimated_seconds of a plan that is otherwise complete. Where whole
// Gram matrices are what exceeds request.resources.max_memory_bytes they go into a file:
// scratch_folder and scratch_bytes. MEMORY_BUDGET naming the least limit that would do.
absl::Status EstimateCost(const QuantizeRequest& request, Plan& plan);

}  // namespace quantd
