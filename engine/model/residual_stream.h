// Which linears read the residual stream and which write to it: what a rotation of the stream goes
// into.
#pragma once

#include "absl/status/status.h"
#include "engine/types/model_spec.h"

namespace quantd {

enum class ResidualSide {
  kNone,   // neither
  kReads,  // its input is the stream after a norm
  kWrites  // its output is added to the stream
};
ResidualSide SideOf(LinearRole role);

// The norm between the stream and a linear of the block that reads it.
const NormSpec& NormBefore(const BlockSpec& block, const LinearSpec& linear);

// MODEL_UNSUPPORTED, naming what is in the way, for a model whose stream cannot be rotated with its
// function kept: norms must commute with a rotation (RMSNorm, the gain folded into what reads it,
// none on what is added to the stream, nothing added to a gain), nothing but the embedding may
// enter the stream, and its width must be even. A tied output projection is no hindrance to the
// function, but becomes a tensor of its own: its gain and the embedding's part.
absl::Status CheckRotatable(const ModelSpec& model);

}  // namespace quantd
