// Inspections of GGUF files.
#include <limits>

#include "base/error.h"
#include "engine/inspect/inspection.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/engine/gguf/gguf_bytes.h"
#include "tests/engine/inspect/model_folder.h"

namespace quantd {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

Inspection Look(const std::string& bytes) {
  ModelFolder folder;
  folder.Text("model.gguf", bytes);
  auto inspection = Inspect(folder.path() + "/model.gguf", {});
  EXPECT_TRUE(inspection.ok()) << inspection.status();
  return inspection.ok() ? *std::move(inspection) : Inspection{};
}

std::vector<std::string> Lines(const std::vector<Finding>& findings) {
  std::vector<std::string> lines;
  for (const Finding& finding : findings) lines.push_back(finding.where + ": " + finding.text);
  return lines;
}

TEST(InspectGgufTest, TellsTypesAndBits) {
  const Inspection inspection = Look(SmallGguf());
  EXPECT_THAT(Lines(inspection.findings.problems), IsEmpty());
  EXPECT_EQ(inspection.kind, "gguf");
  EXPECT_EQ(inspection.layout, "gguf 3");
  EXPECT_EQ(inspection.family, "llama");
  EXPECT_EQ(inspection.parameters, 64 * 4 + 64 + 64);
  EXPECT_DOUBLE_EQ(inspection.bits_quantized, 8.5);
  ASSERT_EQ(inspection.modules.size(), 1U);
  EXPECT_EQ(inspection.modules[0].scheme, "Q8_0");
  EXPECT_EQ(inspection.modules[0].out_features, 4);
}

// SmallGguf in two files: the norms in the second.
std::string PartOfSmallGguf(uint32_t number) {
  GgufBytes file;
  if (number == 0) {
    file.Head(1, 7)
        .StringKey("general.architecture", "llama")
        .IntegerKey("llama.embedding_length", 64)
        .IntegerKey("llama.block_count", 1)
        .StringsKey("tokenizer.ggml.tokens", {"a", "b", "c", "d"});
  } else {
    file.Head(2, 3);
  }
  file.IntegerKey("split.no", number)
      .IntegerKey("split.count", 2)
      .IntegerKey("split.tensors.count", 3);
  if (number == 0) {
    file.Tensor("token_embd.weight", {64, 4}, 8, 0).Data(272);
  } else {
    file.Tensor("blk.0.attn_norm.weight", {64}, 0, 0)
        .Tensor("output_norm.weight", {64}, 0, 256)
        .Data(512);
  }
  return file.bytes();
}

TEST(InspectGgufTest, PartsOfASplitModelAreOne) {
  ModelFolder folder;
  folder.Text("m-00001-of-00002.gguf", PartOfSmallGguf(0));
  folder.Text("m-00002-of-00002.gguf", PartOfSmallGguf(1));
  for (const std::string path : {"", "/m-00001-of-00002.gguf", "/m-00002-of-00002.gguf"}) {
    const auto inspection = Inspect(folder.path() + path, {});
    ASSERT_TRUE(inspection.ok()) << inspection.status();
    EXPECT_THAT(Lines(inspection->findings.problems), IsEmpty()) << path;
    EXPECT_EQ(inspection->files.size(), 2U);
    EXPECT_EQ(inspection->family, "llama");
    EXPECT_EQ(inspection->parameters, 64 * 4 + 64 + 64);
  }
}

TEST(InspectGgufTest, PartsThatAreMissingOrOfAnotherModelAreFound) {
  ModelFolder folder;
  folder.Text("m-00001-of-00002.gguf", PartOfSmallGguf(0));
  const auto problems = [&] {
    const auto inspection = Inspect(folder.path() + "/m-00001-of-00002.gguf", {});
    return inspection.ok() ? Lines(inspection->findings.problems) : std::vector<std::string>();
  };
  EXPECT_THAT(problems(), Contains(HasSubstr("m-00002-of-00002.gguf: missing")));
  folder.Text("m-00002-of-00002.gguf", PartOfSmallGguf(0));
  EXPECT_THAT(problems(), Contains(HasSubstr("says that it is part 1 of 2, wanted 2 of 2")));
  folder.Text("m-00002-of-00002.gguf", SmallGguf());
  EXPECT_THAT(problems(), Contains(HasSubstr("says that it is a model of its own, wanted 2 of 2")));
  folder.Text("other.gguf", SmallGguf());
  EXPECT_THAT(std::string(Inspect(folder.path(), {}).status().message()),
              HasSubstr("several GGUF models"));
}

TEST(InspectGgufTest, NotANumberInABlockIsFound) {
  std::string bytes = SmallGguf();
  // The scale of the first Q8_0 block, at the start of the data.
  const size_t data = bytes.size() - 800;
  bytes[data] = '\x00';
  bytes[data + 1] = '\x7e';
  EXPECT_THAT(Lines(Look(bytes).findings.problems),
              Contains(HasSubstr("token_embd.weight: NaN or infinity")));
}

TEST(InspectGgufTest, MissingPartsAreFound) {
  const std::string bytes = GgufBytes()
                                .Head(1, 3)
                                .StringKey("general.architecture", "llama")
                                .IntegerKey("llama.embedding_length", 32)
                                .IntegerKey("llama.block_count", 4'000'000'000)
                                .Tensor("token_embd.weight", {64, 4}, 0, 0)
                                .Data(1024)
                                .bytes();
  const std::vector<std::string> problems = Lines(Look(bytes).findings.problems);
  EXPECT_THAT(problems, Contains(HasSubstr("rows of 64, the metadata say 32")));
  EXPECT_THAT(problems, Contains(HasSubstr("output_norm.weight: missing")));
  EXPECT_THAT(problems, Contains(HasSubstr("blk.0.: missing")));
}

TEST(InspectGgufTest, ACutFileIsAProblem) {
  const std::string bytes = SmallGguf();
  EXPECT_THAT(Lines(Look(bytes.substr(0, bytes.size() - 1)).findings.problems),
              Contains(HasSubstr("cut short")));
}

}  // namespace
}  // namespace quantd
