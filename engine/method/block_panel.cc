#include "engine/method/block_panel.h"

#include "engine/gguf/block_codes.h"

namespace quantd {

BlockPanel BlockPanel::Of(const BlockType& type, int64_t rows, int64_t columns) {
  BlockPanel panel;
  panel.type = &type;
  panel.rows = rows;
  const auto blocks = static_cast<size_t>(columns / type.elements * rows);
  const size_t subs = blocks * static_cast<size_t>(type.layout->sub_blocks);
  panel.d.resize(blocks);
  panel.dmin.resize(blocks);
  panel.scale_code.resize(subs);
  panel.min_code.resize(subs);
  return panel;
}

void BlockPanel::Choose(int64_t index, const float* weights, const float* importance,
                        BlockSearch search) {
  std::vector<float> row(static_cast<size_t>(type->elements));
  BlockParts parts;
  for (int64_t n = 0; n < rows; ++n) {
    for (int64_t k = 0; k < type->elements; ++k) {
      row[static_cast<size_t>(k)] = weights[k * rows + n];
    }
    ChooseBlock(layout(), row.data(), importance, search, parts);
    const auto at = static_cast<size_t>(index * rows + n);
    d[at] = parts.d;
    dmin[at] = parts.dmin;
    for (int64_t j = 0; j < layout().sub_blocks; ++j) {
      const auto sub = static_cast<size_t>((index * layout().sub_blocks + j) * rows + n);
      scale_code[sub] = static_cast<float>(parts.scale[static_cast<size_t>(j)]);
      min_code[sub] = static_cast<float>(parts.min[static_cast<size_t>(j)]);
    }
  }
}

void BlockPanel::Spread(int64_t index, float* scales, float* mins) const {
  for (int64_t j = 0; j < layout().sub_blocks; ++j) {
    const int64_t sub = (index * layout().sub_blocks + j) * rows;
    for (int64_t n = 0; n < rows; ++n) {
      const auto block = static_cast<size_t>(index * rows + n), at = static_cast<size_t>(sub + n);
      scales[at] = d[block] * scale_code[at];
      mins[at] = dmin[block] * min_code[at];
    }
  }
}

void BlockPanel::Store(const float* steps, QuantizedRows* out) const {
  const int64_t blocks = out->columns / type->elements, subs = layout().sub_blocks;
  BlockParts parts;
  for (int64_t index = 0; index < blocks; ++index) {
    for (int64_t n = 0; n < rows; ++n) {
      const auto at = static_cast<size_t>(index * rows + n);
      parts.d = d[at];
      parts.dmin = dmin[at];
      for (int64_t j = 0; j < subs; ++j) {
        const auto sub = static_cast<size_t>((index * subs + j) * rows + n);
        parts.scale[static_cast<size_t>(j)] = static_cast<int16_t>(scale_code[sub]);
        parts.min[static_cast<size_t>(j)] = static_cast<int16_t>(min_code[sub]);
      }
      for (int64_t k = 0; k < type->elements; ++k) {
        parts.q[static_cast<size_t>(k)] =
            static_cast<int16_t>(steps[(index * type->elements + k) * rows + n]);
      }
      layout().pack(parts,
                    out->blocks.data() + n * type->RowBytes(out->columns) + index * type->bytes);
    }
  }
}

}  // namespace quantd
