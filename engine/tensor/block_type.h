// Element types of which only whole blocks have a size: 256 weights in 144 bytes. What is inside a
// block is its decoder's and encoder's business.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace quantd {

struct BlockLayout;

// How the contents of blocks are chosen. kRange: from the range of the weights, as the format's
// reference rounding does. kError: by search for the least squared error.
enum class BlockSearch { kRange, kError };

// Neighbouring weights of one row, whole blocks of them.
struct BlockSource {
  const float* weights = nullptr;
  const float* importance = nullptr;  // of the error of each weight, >= 0; null: all alike
  BlockSearch search = BlockSearch::kError;
};

struct BlockType {
  std::string_view name;                // "Q4_K"
  uint32_t number = 0;                  // GGML's
  int64_t elements = 1;                 // weights per block
  int64_t bytes = 1;                    // of a block
  int bits = 0;                         // of one code
  const BlockLayout* layout = nullptr;  // null: each weight is a number of its own

  // Blocks of this type as a loader computes them, in the same order of operations.
  void (*decode)(const BlockType& type, const std::byte* from, int64_t blocks, float* to) = nullptr;
  // Finite weights into blocks. The same bytes on every machine.
  void (*encode)(const BlockType& type, const BlockSource& source, int64_t blocks,
                 std::byte* to) = nullptr;

  bool Fits(int64_t columns) const { return columns % elements == 0; }
  // Of a row; `columns` is a multiple of `elements`.
  int64_t RowBytes(int64_t columns) const { return columns / elements * bytes; }
};

}  // namespace quantd
