// The search: never worse than the range of the weights, the same on every instruction set, and
// sane for blocks that no distribution makes.

#include "engine/gguf/block_codes.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "engine/gguf/block_types.h"

namespace quantd {
namespace {

std::vector<float> RandomRow(uint32_t seed, size_t count, double outliers = 0) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0F, 0.05F);
  std::uniform_real_distribution<double> uniform(0, 1);
  std::vector<float> row(count);
  for (float& value : row) {
    value = normal(random);
    if (uniform(random) < outliers) value *= 20.0F;
  }
  return row;
}

double ErrorOf(const BlockType& type, const std::vector<float>& row,
               const std::vector<float>& importance, BlockSearch search) {
  const auto columns = static_cast<int64_t>(row.size());
  std::vector<std::byte> bytes(static_cast<size_t>(type.RowBytes(columns)));
  const BlockSource source = {row.data(), importance.empty() ? nullptr : importance.data(), search};
  type.encode(type, source, columns / type.elements, bytes.data());
  std::vector<float> back(row.size());
  type.decode(type, bytes.data(), columns / type.elements, back.data());
  double error = 0;
  for (size_t i = 0; i < row.size(); ++i) {
    const double difference = static_cast<double>(row[i]) - static_cast<double>(back[i]);
    error +=
        (importance.empty() ? 1.0 : static_cast<double>(importance[i])) * difference * difference;
  }
  return error;
}

class EveryType : public ::testing::TestWithParam<const BlockType*> {};
class EveryBlock : public EveryType {};  // those that have parts

TEST_P(EveryType, SearchIsNoWorseThanTheRange) {
  const BlockType& type = *GetParam();
  for (const double outliers : {0.0, 0.02}) {
    for (uint32_t seed = 0; seed < 20; ++seed) {
      const std::vector<float> row = RandomRow(seed, 256, outliers);
      std::vector<float> importance = RandomRow(seed + 100, 256);
      for (float& value : importance) value = value * value + 1e-4F;
      EXPECT_LE(ErrorOf(type, row, {}, BlockSearch::kError),
                ErrorOf(type, row, {}, BlockSearch::kRange) * 1.0001);
      EXPECT_LE(ErrorOf(type, row, importance, BlockSearch::kError),
                ErrorOf(type, row, importance, BlockSearch::kRange) * 1.0001);
    }
  }
}

// Of normally distributed weights, relative to their energy. The bounds are what an ideal uniform
// quantizer of so many levels reaches, with room for the blocks' own scales.
TEST_P(EveryType, ErrorIsThatOfItsBits) {
  const BlockType& type = *GetParam();
  double error = 0, energy = 0;
  for (uint32_t seed = 0; seed < 64; ++seed) {
    const std::vector<float> row = RandomRow(seed, 256);
    error += ErrorOf(type, row, {}, BlockSearch::kError);
    for (const float value : row) energy += static_cast<double>(value) * static_cast<double>(value);
  }
  const double bound = type.bits >= 16 ? 1e-5 : 2.2 * std::pow(4.0, -type.bits);
  RecordProperty("relative_error", std::to_string(error / energy));
  EXPECT_LT(error / energy, bound) << type.name;
}

TEST_P(EveryType, OddBlocksStayFinite) {
  const BlockType& type = *GetParam();
  const float tiny = std::numeric_limits<float>::denorm_min(), huge = 60000.0F;
  for (const std::vector<float>& pattern : {std::vector<float>{0},
                                            {1},
                                            {-1},
                                            {tiny},
                                            {tiny, -tiny},
                                            {huge, -huge},
                                            {0, 0, 0, 5},
                                            {3e-8F, -2e-8F},
                                            {1e30F, -1e30F},
                                            {-4, -3, -2, -1},
                                            {4, 3, 2, 1}}) {
    if (type.layout == nullptr && std::abs(pattern[0]) > huge) continue;
    std::vector<float> row(256), back(256);
    for (size_t i = 0; i < row.size(); ++i) row[i] = pattern[i % pattern.size()];
    std::vector<std::byte> bytes(static_cast<size_t>(type.RowBytes(256)));
    type.encode(type, {.weights = row.data()}, 256 / type.elements, bytes.data());
    type.decode(type, bytes.data(), 256 / type.elements, back.data());
    for (size_t i = 0; i < back.size(); ++i) {
      ASSERT_TRUE(std::isfinite(back[i])) << type.name << " pattern " << pattern[0];
    }
  }
}

TEST_P(EveryBlock, IsTheSameOnEveryInstructionSet) {
  const BlockType& type = *GetParam();
  const auto weights = static_cast<size_t>(type.layout->weights);
  for (uint32_t seed = 0; seed < 50; ++seed) {
    const std::vector<float> row = RandomRow(seed, weights, 0.01);
    BlockParts expected;
    BlockChoosers().front()->choose(*type.layout, row.data(), nullptr, BlockSearch::kError,
                                    expected);
    for (const BlockChooser* chooser : BlockChoosers()) {
      BlockParts parts;
      chooser->choose(*type.layout, row.data(), nullptr, BlockSearch::kError, parts);
      EXPECT_EQ(parts.d, expected.d) << chooser->isa;
      EXPECT_EQ(parts.dmin, expected.dmin) << chooser->isa;
      EXPECT_EQ(parts.scale, expected.scale) << chooser->isa;
      EXPECT_EQ(parts.min, expected.min) << chooser->isa;
      EXPECT_EQ(parts.q, expected.q) << chooser->isa;
    }
  }
}

// What was chosen is what a reader of the bytes finds.
TEST_P(EveryBlock, PacksWhatItUnpacks) {
  const BlockType& type = *GetParam();
  const BlockLayout& layout = *type.layout;
  std::mt19937 random(7);
  for (int round = 0; round < 200; ++round) {
    BlockParts parts;
    const auto within = [&](int low, int high) {
      return static_cast<int16_t>(std::uniform_int_distribution<int>(low, high)(random));
    };
    parts.d = RoundToHalf(static_cast<float>(within(-500, 500)) * 0.001F);
    if (layout.has_min()) parts.dmin = RoundToHalf(static_cast<float>(within(-500, 500)) * 0.001F);
    for (size_t j = 0; j < static_cast<size_t>(layout.sub_blocks); ++j) {
      parts.scale[j] = within(layout.scale_low, layout.scale_high);
      if (layout.has_min())
        parts.min[j] = layout.nested() ? within(0, layout.min_high) : int16_t{1};
    }
    for (size_t i = 0; i < static_cast<size_t>(layout.weights); ++i) {
      parts.q[i] = within(layout.low, layout.high);
    }
    std::vector<std::byte> bytes(static_cast<size_t>(type.bytes));
    layout.pack(parts, bytes.data());
    BlockParts back;
    layout.unpack(bytes.data(), back);
    EXPECT_EQ(parts.d, back.d);
    EXPECT_EQ(parts.dmin, back.dmin);
    EXPECT_EQ(parts.scale, back.scale);
    EXPECT_EQ(parts.min, back.min);
    EXPECT_EQ(parts.q, back.q);
  }
}

std::vector<const BlockType*> Types(bool (*wanted)(const BlockType&)) {
  std::vector<const BlockType*> types;
  for (const BlockType& type : BlockTypes()) {
    if (wanted(type)) types.push_back(&type);
  }
  return types;
}

std::string NameOf(const ::testing::TestParamInfo<const BlockType*>& info) {
  return std::string(info.param->name);
}

INSTANTIATE_TEST_SUITE_P(BlockTypes, EveryType,
                         ::testing::ValuesIn(Types([](const BlockType&) { return true; })), NameOf);
INSTANTIATE_TEST_SUITE_P(BlockTypes, EveryBlock,
                         ::testing::ValuesIn(Types([](const BlockType& type) {
                           return type.layout != nullptr;
                         })),
                         NameOf);

}  // namespace
}  // namespace quantd
