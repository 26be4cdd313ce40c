// A block with its transform, before it is quantized.
#pragma once

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/artifact/packed_tensors.h"
#include "engine/block/activations.h"
#include "engine/block/block.h"
#include "engine/plan/plan.h"

namespace quantd {

// What belongs to no linear: norms, transformed where the block's transform has them, and the
// correction of experts' scores.
absl::Status WriteNorms(const Block& block, const Checkpoint& checkpoint, PackedTensors& tensors);
// The bias of linear `index`, if it has one.
absl::Status WriteBias(const Block& block, size_t index, const Checkpoint& checkpoint,
                       PackedTensors& tensors);
// A linear that stays in 16 bit: as it was, or, a router whose experts were transformed, with their
// scales in its columns.
absl::Status WriteUnquantized(const Block& block, size_t index, const Checkpoint& checkpoint,
                              PackedTensors& tensors);

// The original block but for norms, biases and routers that were transformed. Linears that are
// quantized are still the original's: they take their place later.
absl::StatusOr<BlockWeights> TransformedWeights(const Checkpoint& checkpoint, const Block& block,
                                                const BlockWeights& original,
                                                const ForwardContext& context);

}  // namespace quantd
