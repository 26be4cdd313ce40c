// What GPTQ leaves to gain: scales refitted to the codes that were chosen, codes moved by single
// steps, in turns, each change lowering the squared output error (W - Wq) H (W - Wq)^T of its row.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "engine/method/block_panel.h"
#include "engine/method/damped_hessian.h"
#include "engine/method/registry.h"

namespace quantd {

// Rows that have been rounded, transposed: a channel's values of all rows side by side.
struct RoundedPanel {
  int64_t rows = 0, columns = 0;
  int64_t group_size = 0;        // per scale: with blocks that of a sub-block
  float* error = nullptr;        // [K, rows]: w - step * scale
  float* steps = nullptr;        // [K, rows]: code - zero
  float* scales = nullptr;       // [groups, rows]
  const float* zeros = nullptr;  // [groups, rows]
  float* mins = nullptr;         // [groups, rows] with blocks: w ~ step * scale - min
  BlockPanel* blocks = nullptr;  // that scales and mins are made of; null: none
};

// `rounds` sweeps over the blocks of a row, fewer when nothing moves.
// Scales stay of their sign, below 3 times what they were, and representable in
// scheme.scale_dtype; of blocks the halves move so, and the integers within their range. About 2 *
// rows * K^2 flops per sweep.
absl::Status DescendOnCodes(const Scheme& scheme, const DampedHessian& hessian, int64_t rounds,
                            const MethodContext& context, RoundedPanel panel);

}  // namespace quantd
