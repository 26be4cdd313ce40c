// The header reader against files that lie.
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "engine/tensor/checkpoint.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/engine/tensor/safetensors_file.h"

namespace quantd {
namespace {

using ::testing::HasSubstr;

absl::StatusOr<SafetensorsHeader> Parse(const std::string& file) {
  return ParseSafetensorsHeader(BytesOf(file), static_cast<int64_t>(file.size()), "m.safetensors");
}

TEST(SafetensorsHeaderTest, ReadsATrueFile) {
  const auto header = Parse(SafetensorsFile(
      R"({"b":{"shape":[2,3],"dtype":"BF16","data_offsets":[4,16]},"__metadata__":{"format":"pt"},)"
      R"("a":{"dtype":"F32","shape":[],"data_offsets":[0,4]},)"
      R"("empty":{"dtype":"I8","shape":[0,7],"data_offsets":[4,4]}}   )",
      16));
  ASSERT_TRUE(header.ok()) << header.status();
  ASSERT_EQ(header->entries.size(), 3u);
  EXPECT_EQ(header->entries[0].info, (TensorInfo{"a", DType::kF32, {}}));
  EXPECT_EQ(header->entries[1].info, (TensorInfo{"empty", DType::kI8, {0, 7}}));
  EXPECT_EQ(header->entries[2].info, (TensorInfo{"b", DType::kBF16, {2, 3}}));
  EXPECT_EQ(header->entries[2].offset, header->entries[0].offset + 4);
  EXPECT_EQ(header->metadata.at("format"), "pt");
}

TEST(SafetensorsHeaderTest, ReadsAFileWithoutTensors) {
  EXPECT_TRUE(Parse(SafetensorsFile("{}", 0)).ok());
}

struct Hostile {
  const char* name;
  std::string file;
  std::string says;  // part of the error
};

std::string One(std::string_view entry, size_t data_bytes = 4) {
  return SafetensorsFile(absl::StrCat(R"({"t":{)", ToAbsl(entry), "}}"), data_bytes);
}

std::string Nested(size_t levels) {
  return SafetensorsFile(absl::StrCat(R"({"t":)", std::string(levels, '[')), 0);
}

std::vector<Hostile> LyingSyntax() {
  const std::string huge = "9223372036854775807";
  return {
      {"Empty", "", "at least 8 bytes"},
      {"SevenBytes", "1234567", "at least 8 bytes"},
      {"LengthZero", LittleEndian64(0), "header length 0"},
      {"LengthBeyondFile", LittleEndian64(3) + "{}", "header length 3"},
      {"LengthHuge", LittleEndian64(~uint64_t{0}) + "{}", "header length 18446744073709551615"},
      {"LengthAbove2To63", LittleEndian64(uint64_t{1} << 63) + "{}", "header length"},
      {"LengthAbove100MB", LittleEndian64(100'000'001) + "{}", "header length 100000001"},
      {"NoJson", SafetensorsFile("hello, world", 0), "no JSON at byte"},
      {"NoUtf8", SafetensorsFile("{\"\xFF\":{}}", 0), "no JSON at byte"},
      {"CutShort", SafetensorsFile(R"({"t":{"dtype":)", 0), "no JSON at byte"},
      {"TrailingText", SafetensorsFile("{} {}", 0), "no JSON at byte"},
      {"TrailingZeros", SafetensorsFile(std::string("{}\0\0", 4), 0), "no JSON at byte"},
      {"AList", SafetensorsFile("[]", 0), "got a list"},
      {"ANumber", SafetensorsFile("12", 0), "an object of tensors"},
      {"Deep", Nested(1'000'000), "m.safetensors:t: got a list"},
      {"DeepObjects", SafetensorsFile(R"({"t":{"dtype":{"a":{"a":{}}}}})", 0), "got an object"},
      {"TensorIsNull", SafetensorsFile(R"({"t":null})", 0), "got null"},
      {"NameTwice",
       SafetensorsFile(R"({"t":{"dtype":"I8","shape":[1],"data_offsets":[0,1]},)"
                       R"("t":{"dtype":"I8","shape":[1],"data_offsets":[1,2]}})",
                       2),
       "the name twice"},
      {"KeyTwice", One(R"("dtype":"I8","dtype":"F32","shape":[1],"data_offsets":[0,4])"),
       "dtype twice"},
      {"UnknownKey", One(R"("dtype":"F32","shape":[1],"data_offsets":[0,4],"x":1)"), "the key x"},
      {"NoDtype", One(R"("shape":[1],"data_offsets":[0,4])"), "no dtype"},
      {"NoShape", One(R"("dtype":"F32","data_offsets":[0,4])"), "no shape"},
      {"NoOffsets", One(R"("dtype":"F32","shape":[1])"), "no data_offsets"},
      {"UnknownDtype", One(R"("dtype":"F31","shape":[1],"data_offsets":[0,4])"), "dtype F31"},
      {"DtypeIsNumber", One(R"("dtype":4,"shape":[1],"data_offsets":[0,4])"), "dtype, a string"},
      {"ShapeIsNumber", One(R"("dtype":"F32","shape":1,"data_offsets":[0,4])"), "shape, a list"},
      {"ShapeNegative", One(R"("dtype":"F32","shape":[-1],"data_offsets":[0,4])"), "got -1"},
      {"ShapeFraction", One(R"("dtype":"F32","shape":[1.0],"data_offsets":[0,4])"), "got 1.0"},
      {"ShapeNested", One(R"("dtype":"F32","shape":[[1]],"data_offsets":[0,4])"), "got a list"},
      {"ShapeAbove2To63",
       One(R"("dtype":"F32","shape":[9223372036854775808],"data_offsets":[0,4])"),
       "got 9223372036854775808"},
      {"ShapeOverflows",
       One(R"("dtype":"I8","shape":[4294967296,4294967296],"data_offsets":[0,4])"), "below 2^63"},
      {"BytesOverflow",
       One(absl::StrCat(R"("dtype":"F32","shape":[)", huge, R"(],"data_offsets":[0,4])")),
       "below 2^63"},
      {"ShapeOverflowsBeforeZero",
       One(R"("dtype":"I8","shape":[4294967296,4294967296,0],"data_offsets":[0,0])", 0),
       "below 2^63"},
      {"TooManyDimensions",
       One(absl::StrCat(R"("dtype":"I8","shape":[1)", std::string(100, ' '),
                        ",1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1",
                        R"(],"data_offsets":[0,1])"),
           1),
       "more dimensions"},
  };
}

std::vector<Hostile> LyingOffsets() {
  const std::string huge = "9223372036854775807";
  return {
      {"OneOffset", One(R"("dtype":"F32","shape":[1],"data_offsets":[0])"), "1 data_offsets"},
      {"ThreeOffsets", One(R"("dtype":"F32","shape":[1],"data_offsets":[0,4,8])"),
       "more data_offsets"},
      {"OffsetsReversed", One(R"("dtype":"F32","shape":[1],"data_offsets":[4,0])"),
       "data_offsets [4, 0]"},
      {"OffsetsBeyondFile", One(R"("dtype":"F32","shape":[2],"data_offsets":[0,8])"),
       "data_offsets [0, 8]"},
      {"OffsetsHuge",
       One(absl::StrCat(R"("dtype":"F32","shape":[1],"data_offsets":[)", huge, ",", huge, "]")),
       "data_offsets"},
      {"BytesDisagree", One(R"("dtype":"F32","shape":[3],"data_offsets":[0,4])"),
       "12 bytes for F32 [3]"},
      {"DataWithoutTensor", SafetensorsFile("{}", 4), "got 4 bytes of data"},
      {"HoleAtTheStart", One(R"("dtype":"I8","shape":[3],"data_offsets":[1,4])"), "after a hole"},
      {"HoleAtTheEnd", One(R"("dtype":"I8","shape":[3],"data_offsets":[0,3])"),
       "got 4 bytes of data"},
      {"HoleBetween",
       SafetensorsFile(R"({"a":{"dtype":"I8","shape":[1],"data_offsets":[0,1]},)"
                       R"("b":{"dtype":"I8","shape":[2],"data_offsets":[2,4]}})",
                       4),
       "m.safetensors:b: got data from byte 2, after a hole"},
      {"Overlap",
       SafetensorsFile(R"({"a":{"dtype":"I8","shape":[3],"data_offsets":[0,3]},)"
                       R"("b":{"dtype":"I8","shape":[2],"data_offsets":[2,4]}})",
                       4),
       "m.safetensors:b: got data from byte 2, overlapping"},
      {"SameBytesTwice",
       SafetensorsFile(R"({"a":{"dtype":"I8","shape":[4],"data_offsets":[0,4]},)"
                       R"("b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})",
                       4),
       "overlapping"},
      {"MetadataIsList", SafetensorsFile(R"({"__metadata__":[]})", 0), "__metadata__: got a list"},
      {"MetadataOfNumbers", SafetensorsFile(R"({"__metadata__":{"a":1}})", 0),
       "an object of strings"},
      {"MetadataNested", SafetensorsFile(R"({"__metadata__":{"a":{}}})", 0),
       "an object of strings"},
      {"MetadataKeyTwice", SafetensorsFile(R"({"__metadata__":{"a":"1","a":"2"}})", 0), "a twice"},
  };
}

std::vector<Hostile> HostileFiles() {
  std::vector<Hostile> all = LyingSyntax();
  std::vector<Hostile> offsets = LyingOffsets();
  for (Hostile& file : offsets) all.push_back(std::move(file));
  return all;
}

class HostileHeaderTest : public ::testing::TestWithParam<Hostile> {};

TEST_P(HostileHeaderTest, IsRefusedByName) {
  const auto header = Parse(GetParam().file);
  ASSERT_FALSE(header.ok());
  EXPECT_EQ(ReasonOf(header.status()), Reason::kModelCorrupt);
  EXPECT_THAT(std::string(header.status().message()), HasSubstr("m.safetensors"));
  EXPECT_THAT(std::string(header.status().message()), HasSubstr(GetParam().says));
}

INSTANTIATE_TEST_SUITE_P(Files, HostileHeaderTest, ::testing::ValuesIn(HostileFiles()),
                         [](const auto& info) { return std::string(info.param.name); });

// Quadratic time over the names would not end here.
TEST(SafetensorsHeaderTest, ManyTensorsTakeLinearTime) {
  std::string json = "{";
  for (int i = 0; i < 200'000; ++i) {
    absl::StrAppend(&json, i == 0 ? "" : ",", "\"t", i,
                    R"(":{"dtype":"I8","shape":[0],"data_offsets":[0,0]})");
  }
  const auto header = Parse(SafetensorsFile(json + "}", 0));
  ASSERT_TRUE(header.ok()) << header.status();
  EXPECT_EQ(header->entries.size(), 200'000u);
}

}  // namespace
}  // namespace quantd
