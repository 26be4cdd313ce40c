// Who gets how many bits.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/budget/sensitivity.h"

namespace quantd {

struct Allocation {
  std::vector<size_t> candidate;  // by unit
  int64_t storage_bits = 0;
  double damage = 0;  // the sum
};

// Starts with the cheapest candidate for every unit and buys, again and again, the step that takes
// the most damage per bit, along each unit's lower convex hull (so that a step which pays only
// together with the next is seen), while it fits `most_bits`. What is left of the budget goes to
// smaller steps that still fit. Optimal but for less than one step. Cost: units x candidates,
// sorted.
Allocation AllocateBits(const Sensitivity& sensitivity, int64_t most_bits);

// The cheapest allocation of the same kind whose damage is at most `most_damage`; the best there is
// when none is.
Allocation AllocateDamage(const Sensitivity& sensitivity, double most_damage);

}  // namespace quantd
