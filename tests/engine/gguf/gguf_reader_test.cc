// Headers of GGUF files: true ones, and every kind of lie.
#include "engine/gguf/gguf_reader.h"

#include <span>

#include "base/error.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/engine/gguf/gguf_bytes.h"

namespace quantd {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

absl::StatusOr<GgufHeader> Parse(const std::string& bytes) {
  return ParseGguf(std::as_bytes(std::span(bytes.data(), bytes.size())), "small.gguf");
}

TEST(GgufReaderTest, ReadsMetadataAndTensors) {
  const std::string bytes = SmallGguf();
  const auto header = Parse(bytes);
  ASSERT_TRUE(header.ok()) << header.status();
  EXPECT_EQ(header->version, 3U);
  EXPECT_EQ(header->String("general.architecture"), "llama");
  EXPECT_EQ(header->Integer("llama.block_count"), 1);
  EXPECT_EQ(header->Length("tokenizer.ggml.tokens"), 4);
  EXPECT_EQ(header->Integer("general.architecture"), std::nullopt);
  ASSERT_EQ(header->tensors.size(), 3U);
  const GgufTensor& embedding = header->tensors[0];
  EXPECT_THAT(embedding.dims, ElementsAre(64, 4));
  EXPECT_EQ(embedding.bytes, 2 * 4 * 34);
  EXPECT_EQ(embedding.offset, header->data_begin);
  EXPECT_EQ(header->tensors[2].offset + header->tensors[2].bytes,
            static_cast<int64_t>(bytes.size()));
}

TEST(GgufReaderTest, ReadsTheSameFromAFile) {
  const auto folder = TemporaryFolder::Create("gguf-reader");
  ASSERT_TRUE(folder.ok());
  const std::string path = folder->path() + "/small.gguf";
  ASSERT_TRUE(WriteFileAtomic(path, SmallGguf()).ok());
  const auto file = RandomAccessFile::Open(path);
  ASSERT_TRUE(file.ok());
  const auto header = ReadGgufHeader(**file);
  ASSERT_TRUE(header.ok()) << header.status();
  EXPECT_EQ(header->tensors.size(), 3U);
}

TEST(GgufReaderTest, EveryTruncationIsAnError) {
  const std::string whole = SmallGguf();
  for (size_t length = 0; length < whole.size(); ++length) {
    const auto header = Parse(whole.substr(0, length));
    ASSERT_FALSE(header.ok()) << length;
    ASSERT_EQ(ReasonOf(header.status()), Reason::kModelCorrupt) << length;
  }
}

struct Lie {
  const char* name;
  GgufBytes bytes;
  const char* message;
};

TEST(GgufReaderTest, LiesAreNamed) {
  const auto one = [](const std::vector<int64_t>& dims, uint32_t type, int64_t offset,
                      size_t data = 64) {
    return GgufBytes().Head(1, 0).Tensor("t", dims, type, offset).Data(data);
  };
  const Lie lies[] = {
      {"magic", GgufBytes().Raw("GGML").Data(64), "another kind of file"},
      {"tensors", GgufBytes().Head(uint64_t{1} << 60, 0).Data(64), "tensors"},
      {"keys", GgufBytes().Head(0, ~uint64_t{0}).Data(64), "keys"},
      {"key length", GgufBytes().Head(0, 1).Number(~uint64_t{0}).Data(64), "a string of"},
      {"value type", GgufBytes().Head(0, 1).Text("k").Number<uint32_t>(13).Data(64), "type 13"},
      {"bool", GgufBytes().Head(0, 1).Text("k").Number<uint32_t>(7).Number<uint8_t>(2).Data(64),
       "bool 2"},
      {"array",
       GgufBytes()
           .Head(0, 1)
           .Text("k")
           .Number<uint32_t>(9)
           .Number<uint32_t>(4)
           .Number(uint64_t{1} << 62)
           .Data(64),
       "values"},
      {"nested", GgufBytes().Head(0, 1).Text("k").Number<uint32_t>(9).Number<uint32_t>(9).Data(64),
       "an array of arrays"},
      {"key twice", GgufBytes().Head(0, 2).IntegerKey("k", 1).IntegerKey("k", 2).Data(64),
       "the key twice"},
      {"alignment", GgufBytes().Head(0, 1).IntegerKey("general.alignment", 3).Data(64),
       "a power of two"},
      {"alignment 0", GgufBytes().Head(0, 1).IntegerKey("general.alignment", 0).Data(64),
       "a power of two"},
      {"rank", GgufBytes().Head(1, 0).Text("t").Number<uint32_t>(5).Data(64), "5 dimensions"},
      {"negative", one({-1, -1}, 0, 0), "shape [-1, -1]"},
      {"empty", one({0}, 0, 0), "shape [0]"},
      {"overflow", one({int64_t{1} << 40, int64_t{1} << 40}, 0, 0), "shape"},
      {"bytes overflow", one({int64_t{1} << 62}, 0, 0), "shape"},
      {"half a block", one({16}, 8, 0), "rows of 16"},
      {"offset", one({4}, 0, 1 << 20), "offset 1048576"},
      {"negative offset", one({4}, 0, -32), "offset -32"},
      {"unaligned", one({4}, 0, 4), "offset 4"},
      {"beyond", one({64}, 0, 0), "256 bytes at offset 0"},
      {"twice", GgufBytes().Head(2, 0).Tensor("t", {4}, 0, 0).Tensor("t", {4}, 0, 32).Data(64),
       "the tensor twice"},
      {"overlap", GgufBytes().Head(2, 0).Tensor("t", {16}, 0, 0).Tensor("u", {4}, 0, 32).Data(64),
       "overlaps t"},
  };
  for (const Lie& lie : lies) {
    const auto header = Parse(lie.bytes.bytes());
    EXPECT_EQ(ReasonOf(header.status()), Reason::kModelCorrupt) << lie.name;
    EXPECT_THAT(std::string(header.status().message()),
                AllOf(HasSubstr("small.gguf"), HasSubstr(lie.message)))
        << lie.name;
  }
}

TEST(GgufReaderTest, OtherVersionsAreNotSupported) {
  for (const uint32_t version : {1U, 4U, 0x03000000U}) {
    const auto header = Parse(GgufBytes().Head(0, 0, version).Data(64).bytes());
    EXPECT_EQ(ReasonOf(header.status()), Reason::kModelUnsupported) << version;
  }
  EXPECT_TRUE(Parse(GgufBytes().Head(0, 0, 2).Data(64).bytes()).ok());
}

TEST(GgufReaderTest, UnknownTypesHaveNoSize) {
  const auto header = Parse(GgufBytes().Head(1, 0).Tensor("t", {7}, 999, 0).Data(64).bytes());
  ASSERT_TRUE(header.ok()) << header.status();
  EXPECT_EQ(header->tensors[0].bytes, 0);
}

}  // namespace
}  // namespace quantd
