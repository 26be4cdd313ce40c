// A model with its residual stream rotated, which stays an ordinary model with the same function:
// QuaRot's and SpinQuant's R1 (arXiv 2404.00456, 2405.16406). The embedding takes part by
// Embedding::WithRotation. For models that CheckRotatable lets pass.
#pragma once

#include <memory>
#include <span>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/block/transform.h"
#include "engine/model/rotation.h"
#include "engine/model/weight_source.h"
#include "engine/tensor/checkpoint.h"
#include "engine/types/model_spec.h"

namespace quantd {

// What becomes of the linears of a block, and of its norms before them, which become ones. The
// rotation is as wide as the stream. Errors: those of reading gains.
absl::StatusOr<BlockTransform> RotationOfBlock(const BlockSpec& block, const Checkpoint& checkpoint,
                                               const std::shared_ptr<const Rotation>& rotation);
// The same of the output projection, as the one linear, and of the final norm. Of a tied one the
// result is another tensor than the rotated embedding, as the gain is in it.
absl::StatusOr<BlockTransform> RotationOfHead(const ModelSpec& model, const Checkpoint& checkpoint,
                                              const std::shared_ptr<const Rotation>& rotation);
// Holds the weights as they become, in f32; `sources` stand parallel to the linears. Errors: those
// of the sources.
absl::Status HoldTransformed(const BlockTransform& transform, std::span<WeightSource> sources);

}  // namespace quantd
