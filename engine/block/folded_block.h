// A block with what was folded into it, before it is quantized.
#pragma once

#include "absl/status/statusor.h"
#include "engine/artifact/artifact.h"
#include "engine/block/activations.h"
#include "engine/block/fold.h"

namespace quantd {

// W[N, K] in f32 with the fold applied.
absl::StatusOr<AlignedBuffer<float>> FoldedValues(const Checkpoint& checkpoint,
                                                  const LinearSpec& linear, const LinearFold& fold);

// A linear that stays in 16 bit into the artifact: as it was, or, a router whose experts were
// folded, with their scales in its columns.
absl::Status WriteUnquantized(const PlannedQuantization& planned, const LinearSpec& linear,
                              const LinearFold& fold, ArtifactWriter& artifact);

// The original block but for norms, biases and routers that scales were folded into. Linears that
// are quantized are still the original's: they take their place later.
absl::StatusOr<BlockWeights> FoldedWeights(const PlannedQuantization& planned,
                                           const BlockSpec& block, const BlockWeights& original,
                                           const BlockFold& fold, const ForwardContext& context);

}  // namespace quantd
