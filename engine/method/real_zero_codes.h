// The codes that the real-zero kernels choose from, for a scheme.
#pragma once

#include "engine/backend/real_zero_kernels.h"
#include "engine/types/scheme.h"

namespace quantd {

// Codes of a scheme with real_zero; with its option `ternary` the three lowest.
RealZeroCodes RealZeroCodesOf(const Scheme& scheme);

}  // namespace quantd
