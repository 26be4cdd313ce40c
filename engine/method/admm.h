// Zero points by the alternating direction method of multipliers: the split of half_quadratic.h
// with a multiplier that remembers how far the split residual was off. Beside it for comparison.
#pragma once

#include "engine/method/half_quadratic.h"

namespace quantd {

// Keeps the zero with the least (weighted) squared error of all iterates.
void UpdateZeroByAdmm(const GroupWeights& group, int most, const HalfQuadratic& options,
                      ZeroLine* line);

}  // namespace quantd
