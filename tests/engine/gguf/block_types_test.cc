// Decoding against the gguf package (tests/golden/make_gguf_golden.py), bit for bit.

#include "engine/gguf/block_types.h"

#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "base/files.h"
#include "base/json.h"
#include "tests/paths.h"

namespace quantd {
namespace {

std::string Decoded(const Json& text) {
  std::string bytes;
  EXPECT_TRUE(absl::Base64Unescape(text.get<std::string>(), &bytes));
  return bytes;
}

TEST(BlockTypes, DecodeAsTheGgufPackageDoes) {
  const auto text = ReadFile(SourcePath("tests/golden/gguf_blocks.json"), 16 << 20);
  ASSERT_TRUE(text.ok());
  const Json golden = *ParseJson(*text, "gguf_blocks.json");
  EXPECT_EQ(golden["types"].size(), 10);
  for (const auto& [name, entry] : golden["types"].items()) {
    const BlockType* type = FindBlockType(std::string_view(name));
    ASSERT_NE(type, nullptr) << name;
    EXPECT_EQ(type->number, entry["number"].get<uint32_t>());
    EXPECT_EQ(FindBlockType(type->number), type);
    for (const Json& block : entry["blocks"]) {
      const std::string bytes = Decoded(block["bytes"]), wanted = Decoded(block["values"]);
      ASSERT_EQ(bytes.size(), static_cast<size_t>(type->bytes)) << name;
      std::vector<float> values(static_cast<size_t>(type->elements));
      type->decode(*type, reinterpret_cast<const std::byte*>(bytes.data()), 1, values.data());
      ASSERT_EQ(wanted.size(), values.size() * sizeof(float)) << name;
      EXPECT_EQ(std::memcmp(values.data(), wanted.data(), wanted.size()), 0) << name;
    }
  }
}

TEST(BlockTypes, RowsOfElementTypes) {
  EXPECT_EQ(FindBlockType("Q4_K")->RowBytes(512), 288);
  EXPECT_FALSE(FindBlockType("Q4_K")->Fits(640));
  EXPECT_TRUE(FindBlockType("Q8_0")->Fits(640));
  EXPECT_EQ(BlockTypeOf(DType::kBF16), FindBlockType("BF16"));
  EXPECT_EQ(BlockTypeOf(DType::kI8), nullptr);
  EXPECT_EQ(FindBlockType("Q9_K"), nullptr);
}

}  // namespace
}  // namespace quantd
