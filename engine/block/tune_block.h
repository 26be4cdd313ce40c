// A block as a whole after its linears were quantized one by one: the methods that tune it.
#pragma once

#include <vector>

#include "absl/status/status.h"
#include "engine/block/activations.h"
#include "engine/block/block.h"
#include "engine/block/linear_quantizer.h"
#include "engine/method/registry.h"

namespace quantd {

// Calibration windows that blocks are compared on: a few thousand tokens settle one number per
// channel.
inline constexpr int64_t kTuneWindows = 16;

// What the block was given, and the block before and after; as long as it is tuned.
struct TuneInputs {
  const Activations& windows;     // inputs of the block
  const BlockWeights& original;   // reads them
  const BlockWeights& quantized;  // but for the linears: norms and biases as transformed
  const ForwardContext& forward;
};

// Calls each method's tune with the linears that ask for it; `linears` stands parallel to
// block.linears, with their rows.
absl::Status TuneBlock(const Block& block, const TuneInputs& inputs, const MethodContext& context,
                       std::vector<QuantizedLinear>& linears);

}  // namespace quantd
