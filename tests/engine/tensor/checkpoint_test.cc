// Checkpoints of one file and of several, true and hostile.
#include "engine/tensor/checkpoint.h"

#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/engine/open_model.h"
#include "tests/engine/tensor/safetensors_file.h"
#include "tests/paths.h"

namespace quantd {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr const char* kSingle = "model.safetensors";
constexpr const char* kIndex = "model.safetensors.index.json";

// A file with one tensor of the type I8 and two rows of two.
std::string FileWith(std::string_view tensor) {
  return SafetensorsFile(absl::StrCat(R"({")", ToAbsl(tensor),
                                      R"(":{"dtype":"I8","shape":[2,2],"data_offsets":[0,4]}})"),
                         4);
}

class CheckpointTest : public ::testing::Test {
 protected:
  void Put(const std::string& name, const std::string& bytes) const {
    std::ofstream(Path(name), std::ios::binary) << bytes;
  }
  std::string Path(const std::string& name) const { return folder_.path() + "/" + name; }

  // Opens the folder and expects a refusal that says so.
  void ExpectRefused(Reason reason, const std::string& says) const {
    const auto checkpoint = OpenCheckpoint(folder_.path());
    ASSERT_FALSE(checkpoint.ok());
    EXPECT_EQ(ReasonOf(checkpoint.status()), reason) << checkpoint.status();
    EXPECT_THAT(std::string(checkpoint.status().message()), HasSubstr(says));
  }

  void PutTwoShards(const std::string& weight_map) const {
    Put("1.safetensors", FileWith("a"));
    Put("2.safetensors", FileWith("b"));
    Put(kIndex, absl::StrCat(R"({"metadata":{"total_size":8},"weight_map":)", weight_map, "}"));
  }

  TemporaryFolder folder_ = *TemporaryFolder::Create("checkpoint-test");
};

TEST_F(CheckpointTest, ReadsTheShippedModel) {
  const auto checkpoint = OpenCheckpoint(SourcePath("models/books-3m"));
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  EXPECT_THAT(checkpoint->files(), ElementsAre(kSingle));
  const TensorInfo* embedding = checkpoint->Find("model.embed_tokens.weight");
  ASSERT_NE(embedding, nullptr);
  EXPECT_EQ(embedding->dtype, DType::kBF16);
  EXPECT_THAT(embedding->shape, ElementsAre(2048, 256));
  EXPECT_EQ(checkpoint->Find("nothing"), nullptr);

  const auto whole = checkpoint->Read("model.embed_tokens.weight");
  ASSERT_TRUE(whole.ok()) << whole.status();
  std::vector<std::byte> rows(3 * 512);
  ASSERT_TRUE(checkpoint->ReadRows("model.embed_tokens.weight", 7, 3, rows).ok());
  EXPECT_TRUE(std::equal(rows.begin(), rows.end(), whole->bytes.data() + 7 * 512));

  // More elements than one piece of the reader.
  const auto wide = checkpoint->ReadF32("model.embed_tokens.weight");
  ASSERT_TRUE(wide.ok()) << wide.status();
  ASSERT_EQ(wide->size(), 2048 * 256);
  std::vector<float> wanted(2048 * 256);
  WidenToF32(whole->bytes.data(), DType::kBF16, 2048 * 256, wanted.data());
  EXPECT_TRUE(std::equal(wanted.begin(), wanted.end(), wide->data()));
}

TEST(CheckpointColumnsTest, AreTheRowsOfTheTransposed) {
  const auto checkpoint = OpenCheckpoint(SourcePath("tests/golden/models/gpt2"));
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  const char* const kName = "transformer.h.0.mlp.c_fc.weight";  // [32, 48], f32
  const auto whole = checkpoint->ReadF32(kName);
  ASSERT_TRUE(whole.ok()) << whole.status();
  std::vector<float> columns(3 * 32);
  ASSERT_TRUE(
      checkpoint->ReadColumns(kName, 45, 3, std::as_writable_bytes(std::span(columns))).ok());
  for (int64_t column = 0; column < 3; ++column) {
    for (int64_t row = 0; row < 32; ++row) {
      EXPECT_EQ(columns[static_cast<size_t>(column * 32 + row)],
                whole->data()[row * 48 + 45 + column]);
    }
  }
  const auto out = std::as_writable_bytes(std::span(columns));
  EXPECT_EQ(ReasonOf(checkpoint->ReadColumns(kName, 46, 3, out)), Reason::kModelCorrupt);
  EXPECT_EQ(ReasonOf(checkpoint->ReadColumns(kName, -1, 3, out)), Reason::kModelCorrupt);
  EXPECT_EQ(ReasonOf(checkpoint->ReadColumns(kName, 0, 2, out)), Reason::kInternal);
  EXPECT_EQ(ReasonOf(checkpoint->ReadColumns("transformer.ln_f.weight", 0, 1, out)),
            Reason::kModelCorrupt);
}

TEST_F(CheckpointTest, ReadsShards) {
  PutTwoShards(R"({"b":"2.safetensors","a":"1.safetensors"})");
  const auto checkpoint = OpenCheckpoint(folder_.path());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  EXPECT_THAT(checkpoint->files(), ElementsAre("1.safetensors", "2.safetensors"));
  EXPECT_EQ(checkpoint->total_bytes(), 8);
  ASSERT_EQ(checkpoint->Tensors().size(), 2u);
  EXPECT_EQ(checkpoint->Tensors()[1]->name, "b");
  const auto tensor = checkpoint->Read("b");
  ASSERT_TRUE(tensor.ok()) << tensor.status();
  EXPECT_EQ(tensor->bytes.data()[3], std::byte{3});
}

TEST_F(CheckpointTest, FollowsLinks) {
  Put("elsewhere", FileWith("a"));
  std::filesystem::create_symlink("elsewhere", Path(kSingle));
  EXPECT_TRUE(OpenCheckpoint(folder_.path()).ok());
}

TEST_F(CheckpointTest, NothingThere) {
  ExpectRefused(Reason::kModelNotFound, "no safetensors files");
  EXPECT_EQ(ReasonOf(OpenCheckpoint(Path("absent")).status()), Reason::kModelNotFound);
  Put("file", "");
  EXPECT_EQ(ReasonOf(OpenCheckpoint(Path("file")).status()), Reason::kModelNotFound);
}

TEST_F(CheckpointTest, LinkToNowhere) {
  std::filesystem::create_symlink("nowhere", Path(kSingle));
  ExpectRefused(Reason::kModelCorrupt, "a link to nowhere");
}

TEST_F(CheckpointTest, FolderInsteadOfAFile) {
  std::filesystem::create_directory(Path(kSingle));
  ExpectRefused(Reason::kModelCorrupt, "not a regular file");
}

TEST_F(CheckpointTest, PipeInsteadOfAFile) {
  ASSERT_EQ(::mkfifo(Path(kSingle).c_str(), 0600), 0);
  ExpectRefused(Reason::kModelCorrupt, "not a regular file");
}

TEST_F(CheckpointTest, CutShort) {
  const std::string file = FileWith("a");
  Put(kSingle, file.substr(0, file.size() - 1));
  ExpectRefused(Reason::kModelCorrupt, "model.safetensors:a");
}

TEST_F(CheckpointTest, CutShortAfterOpening) {
  Put(kSingle, FileWith("a"));
  const auto checkpoint = OpenCheckpoint(folder_.path());
  ASSERT_TRUE(checkpoint.ok());
  std::filesystem::resize_file(Path(kSingle), 20);
  EXPECT_EQ(ReasonOf(checkpoint->Read("a").status()), Reason::kModelCorrupt);
}

TEST_F(CheckpointTest, LyingIndexes) {
  const struct {
    const char* weight_map;
    const char* says;
  } kCases[] = {
      {R"({"a":"../1.safetensors","b":"2.safetensors"})", "shard ../1.safetensors"},
      {R"({"a":"/etc/passwd","b":"2.safetensors"})", "shard /etc/passwd"},
      {R"({"a":"..","b":"2.safetensors"})", "shard .."},
      {R"({"a":"","b":"2.safetensors"})", "a file in the same folder"},
      {R"({"a":"1.safetensors\u0000","b":"2.safetensors"})", "a file in the same folder"},
      {R"({"a":"1.safetensors","b":"3.safetensors"})", "3.safetensors: got no such file"},
      {R"({"a":"1.safetensors"})", ""},  // the second shard is not named: fine
      {R"({"a":"2.safetensors","b":"1.safetensors"})", "which holds it"},
      {R"({"a":"1.safetensors","a":"2.safetensors"})", "json:a: got the name twice"},
      {R"({"a":1})", "got a number"},
      {R"({"a":["1.safetensors"]})", "got a list"},
      {R"({"a":{"b":"c"}})", "got an object"},
      {R"({})", "empty weight_map"},
      {R"([])", "got a list"},
      {R"(null)", "got null"},
      {R"({"a":"1.safetensors")", "no JSON at byte"},
  };
  for (const auto& lie : kCases) {
    SCOPED_TRACE(lie.weight_map);
    PutTwoShards(lie.weight_map);
    if (*lie.says == '\0') {
      EXPECT_TRUE(OpenCheckpoint(folder_.path()).ok());
    } else {
      ExpectRefused(Reason::kModelCorrupt, lie.says);
    }
  }
}

TEST_F(CheckpointTest, AnIndexThatListsTooMuchOrTooLittleIsToldOf) {
  PutTwoShards(R"({"a":"1.safetensors","c":"2.safetensors"})");
  const auto checkpoint = OpenCheckpoint(folder_.path());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  EXPECT_NE(checkpoint->Find("b"), nullptr);
  EXPECT_EQ(checkpoint->Find("c"), nullptr);
  ASSERT_EQ(checkpoint->warnings().size(), 2U);
  EXPECT_EQ(checkpoint->warnings()[0],
            "model.safetensors.index.json does not list b, which the shards hold");
  EXPECT_EQ(checkpoint->warnings()[1],
            "model.safetensors.index.json lists c, which no shard holds");
}

TEST_F(CheckpointTest, FilesWithoutAnIndexAreReadTogether) {
  Put("first.safetensors", FileWith("a"));
  Put("second.safetensors", FileWith("b"));
  Put("consolidated.safetensors", FileWith("c"));
  Put("adapter_model.safetensors", FileWith("d"));
  const auto checkpoint = OpenCheckpoint(folder_.path());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  EXPECT_EQ(checkpoint->files(),
            (std::vector<std::string>{"first.safetensors", "second.safetensors"}));
  EXPECT_NE(checkpoint->Find("b"), nullptr);
  Put("second.safetensors", FileWith("a"));
  ExpectRefused(Reason::kModelCorrupt, "another shard holds too");
}

TEST_F(CheckpointTest, ConsolidatedIsReadUnderTheNamesOfTransformersOnly) {
  Put("consolidated.safetensors", FileWith("a"));
  EXPECT_TRUE(OpenCheckpoint(folder_.path()).ok());
  Put("consolidated.safetensors", FileWith("tok_embeddings.weight"));
  ExpectRefused(Reason::kModelUnsupported, "tok_embeddings.weight");
}

TEST_F(CheckpointTest, TensorInTwoShards) {
  PutTwoShards(R"({"a":"1.safetensors","b":"2.safetensors"})");
  Put("2.safetensors", SafetensorsFile(R"({"a":{"dtype":"I8","shape":[2],"data_offsets":[0,2]},)"
                                       R"("b":{"dtype":"I8","shape":[2],"data_offsets":[2,4]}})",
                                       4));
  ExpectRefused(Reason::kModelCorrupt, "json:a: got shard 1.safetensors");
}

TEST_F(CheckpointTest, IndexesOfOtherShapes) {
  Put(kIndex, "{}");
  ExpectRefused(Reason::kModelCorrupt, "no weight_map");
  Put(kIndex, "[]");
  ExpectRefused(Reason::kModelCorrupt, "");
  Put(kIndex, R"({"weight_map":{},"weight_map":{}})");
  ExpectRefused(Reason::kModelCorrupt, "weight_map twice");
  Put(kIndex, absl::StrCat(R"({"metadata":)", std::string(100'000, '[')));
  ExpectRefused(Reason::kModelCorrupt, "deeper nesting");
}

TEST_F(CheckpointTest, RefusesRowsThatAreNotThere) {
  Put(kSingle, FileWith("a"));
  const auto checkpoint = OpenCheckpoint(folder_.path());
  ASSERT_TRUE(checkpoint.ok());
  std::vector<std::byte> out(4);
  EXPECT_TRUE(checkpoint->ReadRows("a", 0, 2, out).ok());
  EXPECT_FALSE(checkpoint->ReadRows("a", 1, 2, out).ok());
  EXPECT_FALSE(checkpoint->ReadRows("a", -1, 2, out).ok());
  EXPECT_FALSE(checkpoint->ReadRows("a", 0, INT64_MAX, out).ok());
  EXPECT_FALSE(checkpoint->ReadRows("a", 0, 1, out).ok());  // two bytes into four
  EXPECT_EQ(ReasonOf(checkpoint->ReadRows("b", 0, 2, out)), Reason::kModelCorrupt);
  EXPECT_EQ(ReasonOf(checkpoint->ReadF32("a").status()), Reason::kModelCorrupt);
}

TEST_F(CheckpointTest, FingerprintsTellModelsApart) {
  const auto fingerprint = [&]() -> std::string {
    const auto checkpoint = OpenCheckpoint(folder_.path());
    if (!checkpoint.ok()) return checkpoint.status().ToString();
    return checkpoint->Fingerprint().value_or("none");
  };
  Put(kSingle, FileWith("a"));
  EXPECT_EQ(fingerprint(), "none");  // no config.json
  Put("config.json", "{}");
  const std::string first = fingerprint();
  EXPECT_EQ(first.size(), 64u);
  EXPECT_EQ(fingerprint(), first);
  Put("config.json", "{ }");
  EXPECT_NE(fingerprint(), first);
  Put("config.json", "{}");
  Put(kSingle, FileWith("b"));
  EXPECT_NE(fingerprint(), first);
  std::string tuned = FileWith("a");
  tuned.back() = 'x';
  Put(kSingle, tuned);
  EXPECT_NE(fingerprint(), first);
  Put(kSingle, FileWith("a"));
  EXPECT_EQ(fingerprint(), first);
}

}  // namespace
}  // namespace quantd
