#include "engine/gguf/block_types.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "engine/gguf/block_codes.h"
#include "engine/gguf/block_layout.h"
#include "engine/tensor/tensor.h"

namespace quantd {
namespace {

constexpr float kLargestHalf = 65504.0F;

DType NumberType(const BlockType& type) {
  if (type.name == "F32") return DType::kF32;
  return type.name == "F16" ? DType::kF16 : DType::kBF16;
}

void DecodeNumbers(const BlockType& type, const std::byte* from, int64_t count, float* to) {
  WidenToF32(from, NumberType(type), count, to);
}

void EncodeNumbers(const BlockType& type, const BlockSource& source, int64_t count, std::byte* to) {
  NarrowFromF32(source.weights, count, NumberType(type), to);
}

void DecodeBlocks(const BlockType& type, const std::byte* from, int64_t blocks, float* to) {
  const BlockLayout& layout = *type.layout;
  const auto size = static_cast<size_t>(layout.size());
  BlockParts parts;
  for (int64_t block = 0; block < blocks; ++block) {
    layout.unpack(from + block * type.bytes, parts);
    float* out = to + block * type.elements;
    for (size_t j = 0; j < static_cast<size_t>(layout.sub_blocks); ++j) {
      const float scale = parts.d * static_cast<float>(parts.scale[j]);
      const float min = parts.dmin * static_cast<float>(parts.min[j]);
      for (size_t i = j * size; i < (j + 1) * size; ++i) {
        out[i] = scale * static_cast<float>(parts.q[i]) - (layout.has_min() ? min : 0.0F);
      }
    }
  }
}

void EncodeBlocks(const BlockType& type, const BlockSource& source, int64_t blocks, std::byte* to) {
  BlockParts parts;
  for (int64_t block = 0; block < blocks; ++block) {
    const int64_t at = block * type.elements;
    const float* importance = source.importance == nullptr ? nullptr : source.importance + at;
    ChooseBlock(*type.layout, source.weights + at, importance, source.search, parts);
    type.layout->pack(parts, to + block * type.bytes);
  }
}

constexpr BlockType Number(std::string_view name, uint32_t number, int bytes) {
  return {.name = name,
          .number = number,
          .elements = 1,
          .bytes = bytes,
          .bits = 8 * bytes,
          .layout = nullptr,
          .decode = DecodeNumbers,
          .encode = EncodeNumbers};
}

BlockType Block(std::string_view name, uint32_t number, int bytes, int bits,
                const BlockLayout& layout) {
  return {.name = name,
          .number = number,
          .elements = layout.weights,
          .bytes = bytes,
          .bits = bits,
          .layout = &layout,
          .decode = DecodeBlocks,
          .encode = EncodeBlocks};
}

}  // namespace

float ReadHalf(const std::byte* from) {
  float value = 0;
  WidenToF32(from, DType::kF16, 1, &value);
  return value;
}

void WriteHalf(float value, std::byte* to) { NarrowFromF32(&value, 1, DType::kF16, to); }

float RoundToHalf(float value) {
  std::byte half[2];
  WriteHalf(std::clamp(value, -kLargestHalf, kLargestHalf), half);
  return ReadHalf(half);
}

std::span<const BlockType> BlockTypes() {
  static const BlockType types[] = {
      Number("F32", 0, 4),
      Number("F16", 1, 2),
      Number("BF16", 30, 2),
      Block("Q8_0", 8, 34, 8, kQ8_0Layout),
      Block("Q5_1", 7, 24, 5, kQ5_1Layout),
      Block("Q5_0", 6, 22, 5, kQ5_0Layout),
      Block("Q4_1", 3, 20, 4, kQ4_1Layout),
      Block("Q4_0", 2, 18, 4, kQ4_0Layout),
      Block("Q6_K", 14, 210, 6, kQ6KLayout),
      Block("Q5_K", 13, 176, 5, kQ5KLayout),
      Block("Q4_K", 12, 144, 4, kQ4KLayout),
      Block("Q3_K", 11, 110, 3, kQ3KLayout),
      Block("Q2_K", 10, 84, 2, kQ2KLayout),
  };
  return types;
}

const BlockType* FindBlockType(std::string_view name) {
  for (const BlockType& type : BlockTypes()) {
    if (type.name == name) return &type;
  }
  return nullptr;
}

const BlockType* FindBlockType(uint32_t number) {
  for (const BlockType& type : BlockTypes()) {
    if (type.number == number) return &type;
  }
  return nullptr;
}

const BlockType* BlockTypeOf(DType dtype) {
  if (!IsFloat(dtype)) return nullptr;
  return FindBlockType(NameOf(dtype));
}

}  // namespace quantd
