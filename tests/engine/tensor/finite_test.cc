#include "engine/tensor/finite.h"

#include <gtest/gtest.h>

#include <bit>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

namespace quantd {
namespace {

// 100 numbers with `odd` at `place`, as one type.
template <typename Bits>
bool With(DType dtype, Bits odd, size_t place) {
  std::vector<Bits> values(100, 1);
  values[place] = odd;
  return AllFinite(std::as_bytes(std::span(values)), dtype);
}

TEST(AllFinite, FindsNanAndInfinityOfEitherSignWhereverTheyAre) {
  for (const size_t place : {0, 63, 99}) {
    for (const uint16_t odd : std::vector<uint16_t>{0x7C00, 0xFC00, 0x7E00, 0x7C01}) {
      EXPECT_FALSE(With<uint16_t>(DType::kF16, odd, place));
    }
    for (const uint16_t odd : std::vector<uint16_t>{0x7F80, 0xFF80, 0x7FC0, 0xFF81}) {
      EXPECT_FALSE(With<uint16_t>(DType::kBF16, odd, place));
    }
    EXPECT_FALSE(With<uint32_t>(DType::kF32, 0x7F800000, place));
    EXPECT_FALSE(With<uint32_t>(DType::kF32, 0xFFFFFFFF, place));
    EXPECT_FALSE(With<uint64_t>(DType::kF64, 0xFFF0000000000000, place));
  }
}

TEST(AllFinite, TheLargestNumbersAreFinite) {
  EXPECT_TRUE(With<uint16_t>(DType::kF16, 0xFBFF, 5));
  EXPECT_TRUE(With<uint16_t>(DType::kBF16, 0x7F7F, 5));
  EXPECT_TRUE(With<uint32_t>(DType::kF32,
                             std::bit_cast<uint32_t>(std::numeric_limits<float>::lowest()), 5));
  EXPECT_TRUE(
      With<uint64_t>(DType::kF64, std::bit_cast<uint64_t>(std::numeric_limits<double>::max()), 5));
  EXPECT_TRUE(With<uint32_t>(DType::kI32, 0xFFFFFFFF, 5)) << "an integer";
  EXPECT_TRUE(AllFinite({}, DType::kBF16));
}

}  // namespace
}  // namespace quantd
