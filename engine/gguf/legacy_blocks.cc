// Blocks of 32 weights with a scale of their own: where the bits lie. docs/formats.md has the
// table.

#include <bit>
#include <cstring>

#include "engine/gguf/block_layout.h"

namespace quantd {
namespace {

constexpr int kHalfBlock = 16;

unsigned ByteAt(const std::byte* from, int at) { return std::to_integer<unsigned>(from[at]); }

// 16 bytes: the low nibbles are weights 0 to 15, the high ones 16 to 31.
void PackNibbles(const BlockParts& parts, int offset, std::byte* to) {
  for (int i = 0; i < kHalfBlock; ++i) {
    const int low = parts.q[static_cast<size_t>(i)] + offset;
    const int high = parts.q[static_cast<size_t>(i + kHalfBlock)] + offset;
    to[i] = static_cast<std::byte>((low & 15) | ((high & 15) << 4));
  }
}

void UnpackNibbles(const std::byte* from, int offset, BlockParts& parts) {
  for (int i = 0; i < kHalfBlock; ++i) {
    const int both = static_cast<int>(ByteAt(from, i));
    parts.q[static_cast<size_t>(i)] = static_cast<int16_t>((both & 15) - offset);
    parts.q[static_cast<size_t>(i + kHalfBlock)] = static_cast<int16_t>((both >> 4) - offset);
  }
}

// The fifth bits of all weights, weight i at bit i of a little-endian word.
void PackFifthBits(const BlockParts& parts, int offset, std::byte* to) {
  static_assert(std::endian::native == std::endian::little);
  uint32_t bits = 0;
  for (unsigned i = 0; i < 32; ++i) {
    const auto code = static_cast<uint32_t>(parts.q[i] + offset);
    bits |= ((code >> 4) & 1U) << i;
  }
  std::memcpy(to, &bits, sizeof(bits));
}

void AddFifthBits(const std::byte* from, BlockParts& parts) {
  uint32_t bits = 0;
  std::memcpy(&bits, from, sizeof(bits));
  for (unsigned i = 0; i < 32; ++i) {
    if ((bits >> i) & 1U) parts.q[i] = static_cast<int16_t>(parts.q[i] + 16);
  }
}

// One scale for the block; `dmin` is minus what the file calls m.
void UnpackScale(const std::byte* from, BlockParts& parts) {
  parts.d = ReadHalf(from);
  parts.scale[0] = 1;
}
void UnpackMin(const std::byte* from, BlockParts& parts) {
  parts.dmin = -ReadHalf(from);
  parts.min[0] = 1;
}

void PackQ4_0(const BlockParts& parts, std::byte* to) {
  WriteHalf(parts.d, to);
  PackNibbles(parts, 8, to + 2);
}
void UnpackQ4_0(const std::byte* from, BlockParts& parts) {
  UnpackScale(from, parts);
  UnpackNibbles(from + 2, 8, parts);
}

void PackQ4_1(const BlockParts& parts, std::byte* to) {
  WriteHalf(parts.d, to);
  WriteHalf(-parts.dmin, to + 2);
  PackNibbles(parts, 0, to + 4);
}
void UnpackQ4_1(const std::byte* from, BlockParts& parts) {
  UnpackScale(from, parts);
  UnpackMin(from + 2, parts);
  UnpackNibbles(from + 4, 0, parts);
}

void PackQ5_0(const BlockParts& parts, std::byte* to) {
  WriteHalf(parts.d, to);
  PackFifthBits(parts, 16, to + 2);
  PackNibbles(parts, 16, to + 6);
}
void UnpackQ5_0(const std::byte* from, BlockParts& parts) {
  UnpackScale(from, parts);
  UnpackNibbles(from + 6, 16, parts);
  AddFifthBits(from + 2, parts);
}

void PackQ5_1(const BlockParts& parts, std::byte* to) {
  WriteHalf(parts.d, to);
  WriteHalf(-parts.dmin, to + 2);
  PackFifthBits(parts, 0, to + 4);
  PackNibbles(parts, 0, to + 8);
}
void UnpackQ5_1(const std::byte* from, BlockParts& parts) {
  UnpackScale(from, parts);
  UnpackMin(from + 2, parts);
  UnpackNibbles(from + 8, 0, parts);
  AddFifthBits(from + 4, parts);
}

void PackQ8_0(const BlockParts& parts, std::byte* to) {
  WriteHalf(parts.d, to);
  for (int i = 0; i < 32; ++i) {
    to[2 + i] = static_cast<std::byte>(parts.q[static_cast<size_t>(i)] & 255);
  }
}
void UnpackQ8_0(const std::byte* from, BlockParts& parts) {
  UnpackScale(from, parts);
  for (int i = 0; i < 32; ++i) {
    parts.q[static_cast<size_t>(i)] = static_cast<int8_t>(ByteAt(from + 2, i));
  }
}

}  // namespace

const BlockLayout kQ4_0Layout = {.low = -8, .high = 7, .pack = PackQ4_0, .unpack = UnpackQ4_0};
const BlockLayout kQ4_1Layout = {
    .low = 0, .high = 15, .min_high = 1, .pack = PackQ4_1, .unpack = UnpackQ4_1};
const BlockLayout kQ5_0Layout = {.low = -16, .high = 15, .pack = PackQ5_0, .unpack = UnpackQ5_0};
const BlockLayout kQ5_1Layout = {
    .low = 0, .high = 31, .min_high = 1, .pack = PackQ5_1, .unpack = UnpackQ5_1};
// -128 is left out: kernels multiply absolute values of signed bytes.
const BlockLayout kQ8_0Layout = {.low = -127, .high = 127, .pack = PackQ8_0, .unpack = UnpackQ8_0};

}  // namespace quantd
