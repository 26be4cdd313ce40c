// The blocks of a panel of rows while GPTQ looks for their codes: everything is transposed, a part
// of a block in all rows side by side.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/gguf/block_layout.h"
#include "engine/tensor/block_type.h"
#include "engine/types/scheme.h"

namespace quantd {

// w ~ scale step - min with step the code, scale = d scale_j and min = dmin min_j of its sub-block.
struct BlockPanel {
  const BlockType* type = nullptr;  // null: numbers of another kind
  int64_t rows = 0;
  std::vector<float> d, dmin;               // [blocks, rows], representable in F16
  std::vector<float> scale_code, min_code;  // [sub-blocks, rows]: scale_j, min_j

  static BlockPanel Of(const BlockType& type, int64_t rows, int64_t columns);
  bool empty() const { return type == nullptr; }
  const BlockLayout& layout() const { return *type->layout; }
  // Chooses the parts of block `index` by search; weights[type->elements, rows], importance of as
  // many columns or null.
  void Choose(int64_t index, const float* weights, const float* importance, BlockSearch search);
  // What the codes of block `index` are multiplied by, and what is taken off, as a loader computes
  // them: to scales and mins, both [sub-blocks of the panel, rows].
  void Spread(int64_t index, float* scales, float* mins) const;
  // Packs all blocks with the codes steps[columns, rows].
  void Store(const float* steps, QuantizedRows* out) const;
};

}  // namespace quantd
