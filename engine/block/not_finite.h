// Which tensor of the checkpoint is to blame for numbers that are not finite.
#pragma once

#include "absl/status/status.h"
#include "engine/tensor/checkpoint.h"
#include "engine/types/model_spec.h"

namespace quantd {

// Puts the tensor of `block` that holds NaN or infinity in the place of what came of it: another
// MODEL_NOT_FINITE. Any other status stays what it is. Cost: reads the block.
absl::Status NameNotFinite(const Checkpoint& checkpoint, const BlockSpec& block,
                           const absl::Status& status);

}  // namespace quantd
