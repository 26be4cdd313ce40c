// Choosing what is in a block: codes, sub-scales, minima and the two halves, for the least weighted
// squared error of what a loader will compute. docs/numerics.md says how.
#pragma once

#include <span>
#include <string_view>

#include "engine/gguf/block_layout.h"
#include "engine/tensor/block_type.h"

namespace quantd {

// weights[layout.weights], finite; importance of as many or null.
struct BlockChooser {
  std::string_view isa;
  void (*choose)(const BlockLayout& layout, const float* weights, const float* importance,
                 BlockSearch search, BlockParts& parts);
};

// The fastest that this machine has, or the one that QUANTD_CPU_ISA names. All give the same parts.
void ChooseBlock(const BlockLayout& layout, const float* weights, const float* importance,
                 BlockSearch search, BlockParts& parts);
// What this machine can run.
std::span<const BlockChooser* const> BlockChoosers();

}  // namespace quantd
