// How far the output of a quantized linear is from the original's.
#pragma once

#include "absl/status/statusor.h"
#include "engine/backend/backend.h"
#include "engine/block/activations.h"
#include "engine/block/transform.h"

namespace quantd {

// ||X dW^T|| / ||X W^T|| on the sampled rows, by running both weights; the transform of
// the quantized one is undone around it.
absl::StatusOr<double> RelativeOutputError(const InputSamples::Rows& rows,
                                           const PreparedWeight& original,
                                           const PreparedWeight& quantized,
                                           const Transform& transform, Backend& backend);

}  // namespace quantd
