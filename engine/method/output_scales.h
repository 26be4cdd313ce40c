// A tune: one factor per output channel of the linears that write into the residual stream, so that
// the quantized block's output is nearest to the original's. Source: quantd; least squares.
#pragma once

#include <array>

#include "absl/status/status.h"
#include "engine/method/option_row.h"
#include "engine/method/registry.h"
#include "engine/method/scheme_request.h"

namespace quantd {

inline constexpr std::array<OptionRow, 1> kTuneRow = {
    {{"tune", "enum", "none", "none, output-scales",
      "output-scales: scales of the output and down projections by what the quantized block makes "
      "of its inputs; pays at 2 and 3 bits"}}};

// Scales must be numbers that a factor can go into, each of one row.
void CheckTune(SchemeReader& reader);
bool TunesOutputScales(const Scheme& scheme);

// The inputs of these linears carry the errors of those before them, which the linears were not
// quantized for: with y the original's output of a channel and y' the quantized block's,
// sum(y y') / sum(y'^2) minimises sum (y - s y')^2. It goes into the scales of the channel's row,
// rounded as they are stored; codes and zero points stay. Linears are tuned in the order of the
// block, each after those before it. Experts are left out: the two blocks may choose different ones
// for a token.
absl::Status TuneOutputScales(const TuneRequest& request, const MethodContext& context);

}  // namespace quantd
