// Blocks of 256 weights in sub-blocks of 16 or 32, whose scales are small integers in units of the
// block's own: where the bits lie. docs/formats.md has the table.

#include "engine/gguf/block_layout.h"

namespace quantd {
namespace {

unsigned ByteAt(const std::byte* from, int at) { return std::to_integer<unsigned>(from[at]); }
std::byte ToByte(unsigned value) { return static_cast<std::byte>(value & 255U); }
int16_t ToCode(unsigned value, int offset = 0) {
  return static_cast<int16_t>(static_cast<int>(value) - offset);
}
unsigned Code(const BlockParts& parts, int at, int offset = 0) {
  return static_cast<unsigned>(parts.q[static_cast<size_t>(at)] + offset);
}

// Two bits of each of 256 weights in 64 bytes: each half of 128 weights has 32 bytes, its four runs
// of 32 weights lie at shifts 0, 2, 4, 6.
void PackPairs(const BlockParts& parts, int offset, std::byte* to) {
  for (int half = 0; half < 2; ++half) {
    for (int i = 0; i < 32; ++i) {
      unsigned byte = 0;
      for (int run = 0; run < 4; ++run) {
        byte |= (Code(parts, 128 * half + 32 * run + i, offset) & 3U) << (2 * run);
      }
      to[32 * half + i] = ToByte(byte);
    }
  }
}

unsigned PairAt(const std::byte* from, int weight) {
  const int half = weight / 128, run = weight % 128 / 32;
  return (ByteAt(from, 32 * half + weight % 32) >> (2 * run)) & 3U;
}

// scales[16] {4 bits scale, 4 bits min}, q[64], d, dmin.
void PackQ2K(const BlockParts& parts, std::byte* to) {
  for (size_t j = 0; j < 16; ++j) {
    to[j] =
        ToByte(static_cast<unsigned>(parts.scale[j]) | (static_cast<unsigned>(parts.min[j]) << 4));
  }
  PackPairs(parts, 0, to + 16);
  WriteHalf(parts.d, to + 80);
  WriteHalf(parts.dmin, to + 82);
}

void UnpackQ2K(const std::byte* from, BlockParts& parts) {
  for (int j = 0; j < 16; ++j) {
    parts.scale[static_cast<size_t>(j)] = ToCode(ByteAt(from, j) & 15U);
    parts.min[static_cast<size_t>(j)] = ToCode(ByteAt(from, j) >> 4);
  }
  for (int i = 0; i < 256; ++i) {
    parts.q[static_cast<size_t>(i)] = ToCode(PairAt(from + 16, i));
  }
  parts.d = ReadHalf(from + 80);
  parts.dmin = ReadHalf(from + 82);
}

// high[32] {bit run + 4 half of byte i}, q[64], scales[12], d. A scale is 6 bits less 32: the low
// four in the nibbles of bytes 0 to 7, the high two in bytes 8 to 11.
void PackQ3K(const BlockParts& parts, std::byte* to) {
  for (int i = 0; i < 32; ++i) {
    unsigned byte = 0;
    for (int run = 0; run < 8; ++run) {
      byte |= ((Code(parts, 32 * run + i, 4) >> 2) & 1U) << run;
    }
    to[i] = ToByte(byte);
  }
  PackPairs(parts, 4, to + 32);
  unsigned scales[12] = {};
  for (unsigned j = 0; j < 16; ++j) {
    const auto scale = static_cast<unsigned>(parts.scale[j] + 32);
    scales[j % 8] |= (scale & 15U) << (j < 8 ? 0U : 4U);
    scales[8 + j % 4] |= (scale >> 4) << (2 * (j / 4));
  }
  for (int j = 0; j < 12; ++j) to[96 + j] = ToByte(scales[j]);
  WriteHalf(parts.d, to + 108);
}

void UnpackQ3K(const std::byte* from, BlockParts& parts) {
  for (int j = 0; j < 16; ++j) {
    const unsigned low = (ByteAt(from + 96, j % 8) >> (j < 8 ? 0 : 4)) & 15U;
    const unsigned high = (ByteAt(from + 104, j % 4) >> (2 * (j / 4))) & 3U;
    parts.scale[static_cast<size_t>(j)] = ToCode(low | (high << 4), 32);
  }
  for (int i = 0; i < 256; ++i) {
    const unsigned high = (ByteAt(from, i % 32) >> (i / 32)) & 1U;
    parts.q[static_cast<size_t>(i)] = ToCode(PairAt(from + 32, i) | (high << 2), 4);
  }
  parts.d = ReadHalf(from + 108);
}

// Eight scales and eight mins of 6 bits in 12 bytes. The first four of each are the low 6 bits of
// bytes 0 to 3 and 4 to 7; the others have their low nibbles in bytes 8 to 11 (scale low, min
// high) and their high two bits on top of those bytes.
void PackSixBits(const BlockParts& parts, std::byte* to) {
  unsigned bytes[12] = {};
  for (size_t j = 0; j < 4; ++j) {
    const auto scale = static_cast<unsigned>(parts.scale[j + 4]);
    const auto min = static_cast<unsigned>(parts.min[j + 4]);
    bytes[j] = static_cast<unsigned>(parts.scale[j]) | ((scale >> 4) << 6);
    bytes[j + 4] = static_cast<unsigned>(parts.min[j]) | ((min >> 4) << 6);
    bytes[j + 8] = (scale & 15U) | ((min & 15U) << 4);
  }
  for (int j = 0; j < 12; ++j) to[j] = ToByte(bytes[j]);
}

void UnpackSixBits(const std::byte* from, BlockParts& parts) {
  for (int j = 0; j < 4; ++j) {
    const auto at = static_cast<size_t>(j);
    const unsigned scale = ByteAt(from, j), min = ByteAt(from, j + 4), both = ByteAt(from, j + 8);
    parts.scale[at] = ToCode(scale & 63U);
    parts.min[at] = ToCode(min & 63U);
    parts.scale[at + 4] = ToCode((both & 15U) | ((scale >> 6) << 4));
    parts.min[at + 4] = ToCode((both >> 4) | ((min >> 6) << 4));
  }
}

// Four bits of each weight in 128 bytes: per 64 weights 32 bytes, the first 32 in the low nibbles.
void PackFours(const BlockParts& parts, std::byte* to) {
  for (int i = 0; i < 128; ++i) {
    const int first = 64 * (i / 32) + i % 32;
    to[i] = ToByte((Code(parts, first) & 15U) | ((Code(parts, first + 32) & 15U) << 4));
  }
}

unsigned FourAt(const std::byte* from, int weight) {
  return (ByteAt(from, 32 * (weight / 64) + weight % 32) >> (weight % 64 < 32 ? 0 : 4)) & 15U;
}

// d, dmin, scales[12], q[128].
void PackQ4K(const BlockParts& parts, std::byte* to) {
  WriteHalf(parts.d, to);
  WriteHalf(parts.dmin, to + 2);
  PackSixBits(parts, to + 4);
  PackFours(parts, to + 16);
}

void UnpackQ4K(const std::byte* from, BlockParts& parts) {
  parts.d = ReadHalf(from);
  parts.dmin = ReadHalf(from + 2);
  UnpackSixBits(from + 4, parts);
  for (int i = 0; i < 256; ++i) {
    parts.q[static_cast<size_t>(i)] = ToCode(FourAt(from + 16, i));
  }
}

// d, dmin, scales[12], high[32] {bit run of byte i: weight 32 run + i}, q[128].
void PackQ5K(const BlockParts& parts, std::byte* to) {
  WriteHalf(parts.d, to);
  WriteHalf(parts.dmin, to + 2);
  PackSixBits(parts, to + 4);
  for (int i = 0; i < 32; ++i) {
    unsigned byte = 0;
    for (int run = 0; run < 8; ++run) byte |= ((Code(parts, 32 * run + i) >> 4) & 1U) << run;
    to[16 + i] = ToByte(byte);
  }
  PackFours(parts, to + 48);
}

void UnpackQ5K(const std::byte* from, BlockParts& parts) {
  parts.d = ReadHalf(from);
  parts.dmin = ReadHalf(from + 2);
  UnpackSixBits(from + 4, parts);
  for (int i = 0; i < 256; ++i) {
    const unsigned high = (ByteAt(from + 16, i % 32) >> (i / 32)) & 1U;
    parts.q[static_cast<size_t>(i)] = ToCode(FourAt(from + 48, i) | (high << 4));
  }
}

// low[128], high[64], scales[16] of 8 bits, d. Each half of 128 weights has 64 and 32 bytes; its
// run of 32 weights number r has its low nibbles in bytes 32 (r % 2) + i, at shift 4 (r / 2), and
// its high two bits in byte i at shift 2 r.
void PackQ6K(const BlockParts& parts, std::byte* to) {
  for (int i = 0; i < 192; ++i) to[i] = std::byte{0};
  for (int weight = 0; weight < 256; ++weight) {
    const int half = weight / 128, run = weight % 128 / 32, i = weight % 32;
    const unsigned code = Code(parts, weight, 32);
    to[64 * half + 32 * (run % 2) + i] |= ToByte((code & 15U) << (4 * (run / 2)));
    to[128 + 32 * half + i] |= ToByte((code >> 4) << (2 * run));
  }
  for (size_t j = 0; j < 16; ++j) to[192 + j] = ToByte(static_cast<unsigned>(parts.scale[j]));
  WriteHalf(parts.d, to + 208);
}

void UnpackQ6K(const std::byte* from, BlockParts& parts) {
  for (int weight = 0; weight < 256; ++weight) {
    const int half = weight / 128, run = weight % 128 / 32, i = weight % 32;
    const unsigned low = ByteAt(from, 64 * half + 32 * (run % 2) + i) >> (4 * (run / 2));
    const unsigned high = ByteAt(from, 128 + 32 * half + i) >> (2 * run);
    parts.q[static_cast<size_t>(weight)] = ToCode((low & 15U) | ((high & 3U) << 4), 32);
  }
  for (int j = 0; j < 16; ++j) {
    parts.scale[static_cast<size_t>(j)] = static_cast<int8_t>(ByteAt(from, 192 + j));
  }
  parts.d = ReadHalf(from + 208);
}

}  // namespace

const BlockLayout kQ2KLayout = {.weights = 256,
                                .sub_blocks = 16,
                                .low = 0,
                                .high = 3,
                                .scale_low = 0,
                                .scale_high = 15,
                                .min_high = 15,
                                .pack = PackQ2K,
                                .unpack = UnpackQ2K};
const BlockLayout kQ3KLayout = {.weights = 256,
                                .sub_blocks = 16,
                                .low = -4,
                                .high = 3,
                                .scale_low = -32,
                                .scale_high = 31,
                                .pack = PackQ3K,
                                .unpack = UnpackQ3K};
const BlockLayout kQ4KLayout = {.weights = 256,
                                .sub_blocks = 8,
                                .low = 0,
                                .high = 15,
                                .scale_low = 0,
                                .scale_high = 63,
                                .min_high = 63,
                                .pack = PackQ4K,
                                .unpack = UnpackQ4K};
const BlockLayout kQ5KLayout = {.weights = 256,
                                .sub_blocks = 8,
                                .low = 0,
                                .high = 31,
                                .scale_low = 0,
                                .scale_high = 63,
                                .min_high = 63,
                                .pack = PackQ5K,
                                .unpack = UnpackQ5K};
const BlockLayout kQ6KLayout = {.weights = 256,
                                .sub_blocks = 16,
                                .low = -32,
                                .high = 31,
                                .scale_low = -128,
                                .scale_high = 127,
                                .pack = PackQ6K,
                                .unpack = UnpackQ6K};

}  // namespace quantd
