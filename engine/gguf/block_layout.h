// A block taken apart. All block types are one idea: weight ~ (d scale_j) q - (dmin min_j), with
// codes q per weight, small integers scale_j and min_j per sub-block, and two halves d, dmin per
// block. They differ in how many of each there are, and in where the bits lie.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace quantd {

inline constexpr int kMostWeights = 256;  // of a block
inline constexpr int kMostSubBlocks = 16;

struct BlockParts {
  float d = 0, dmin = 0;  // representable in F16
  std::array<int16_t, kMostSubBlocks> scale = {}, min = {};
  std::array<int16_t, kMostWeights> q = {};
};

struct BlockLayout {
  int weights = 32;  // of a block
  int sub_blocks = 1;
  int low = 0, high = 0;              // of q
  int scale_low = 1, scale_high = 1;  // of scale_j; both 1: there is no such field
  int min_high = 0;                   // of min_j, from 0; 0: no dmin either. 1 without scales: dmin
                                      // alone, of either sign
  void (*pack)(const BlockParts& parts, std::byte* to) = nullptr;
  void (*unpack)(const std::byte* from, BlockParts& parts) = nullptr;

  int size() const { return weights / sub_blocks; }
  bool nested() const { return scale_high != scale_low; }
  bool has_min() const { return min_high > 0; }
};

// F16 as it lies in a block.
float ReadHalf(const std::byte* from);
void WriteHalf(float value, std::byte* to);
// The nearest half, finite: 65504 at most.
float RoundToHalf(float value);

// legacy_blocks.cc: 32 weights.
extern const BlockLayout kQ4_0Layout, kQ4_1Layout, kQ5_0Layout, kQ5_1Layout, kQ8_0Layout;
// k_blocks.cc: 256 weights in 8 or 16 sub-blocks.
extern const BlockLayout kQ2KLayout, kQ3KLayout, kQ4KLayout, kQ5KLayout, kQ6KLayout;

}  // namespace quantd
