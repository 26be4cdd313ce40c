// Asks the methods which scales to move.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/block/block.h"
#include "engine/method/registry.h"
#include "engine/plan/plan.h"

namespace quantd {

// Sets block.transform: asks the methods of the block's linears for their scales
// (Method::transform), group by group, each on the weights as they were; divides block.statistics
// by what was chosen. A group is transformed when all of its linears ask for the same and what
// makes their input can take it: a norm always can, a linear when it is quantized itself. A router
// follows its experts in 16 bit. The division of a norm's gain is rounded to its stored type first,
// and the columns take exactly what is left, so that the function stays the same. Returns warnings
// about groups that keep their scale. Errors: those of the methods and of reading weights.
absl::StatusOr<std::vector<std::string>> ChooseTransforms(const PlannedQuantization& planned,
                                                          const MethodContext& context,
                                                          Block& block);

}  // namespace quantd
