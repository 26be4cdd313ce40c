#include "engine/tensor/found_instead.h"

#include <filesystem>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/files.h"
#include "engine/tensor/checkpoint.h"
#include "engine/tensor/model_folder.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/engine/tensor/safetensors_file.h"

namespace quantd {
namespace {

using ::testing::HasSubstr;

constexpr const char* kPointer =
    "version https://git-lfs.github.com/spec/v1\n"
    "oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n";

class FoundInsteadTest : public ::testing::Test {
 protected:
  void Put(const std::string& name, std::string_view text = "x") {
    ASSERT_TRUE(WriteFileAtomic(folder_.path() + "/" + name, text).ok());
  }
  absl::Status Opened() const {
    auto files = OpenModelFolder(folder_.path());
    return files.ok() ? Checkpoint::Open(*files).status() : files.status();
  }
  TemporaryFolder folder_ = *TemporaryFolder::Create("found-instead-test");
};

struct Row {
  const char* name;
  std::vector<std::string> files;
  const char* said;
};

class NoWeightsTest : public FoundInsteadTest, public ::testing::WithParamInterface<Row> {};

TEST_P(NoWeightsTest, SaysWhatIsThere) {
  for (const std::string& file : GetParam().files) Put(file);
  const absl::Status status = Opened();
  EXPECT_EQ(ReasonOf(status), Reason::kModelNotFound) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr(GetParam().said));
}

INSTANTIATE_TEST_SUITE_P(
    Folders, NoWeightsTest,
    ::testing::Values(
        Row{"Empty", {}, "no safetensors files"},
        Row{"Adapter", {"adapter_config.json", "adapter_model.safetensors"}, "a LoRA adapter"},
        Row{"Pickle",
            {"config.json", "pytorch_model.bin"},
            "pytorch_model.bin, weights in a pickle"},
        Row{"Unfinished", {"model.safetensors.incomplete"}, "a download that did not end"},
        Row{"OtherFramework", {"tf_model.h5"}, "weights of another framework"}),
    [](const auto& info) { return info.param.name; });

TEST_F(FoundInsteadTest, ALinkToNowhere) {
  std::filesystem::create_symlink("../../blobs/gone", folder_.path() + "/weights.safetensors");
  EXPECT_THAT(std::string(Opened().message()), HasSubstr("a link to nowhere"));
}

TEST_F(FoundInsteadTest, APointerInPlaceOfWeights) {
  Put("model.safetensors", kPointer);
  const absl::Status status = Opened();
  EXPECT_EQ(ReasonOf(status), Reason::kModelCorrupt);
  EXPECT_THAT(std::string(status.message()), HasSubstr("a Git LFS pointer"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("git lfs pull"));
}

TEST_F(FoundInsteadTest, APointerInPlaceOfText) {
  Put("tokenizer.json", kPointer);
  const auto text = (*OpenModelFolder(folder_.path()))->ReadText("tokenizer.json", 1 << 20);
  EXPECT_THAT(std::string(text.status().message()), HasSubstr("tokenizer.json: got a Git LFS"));
}

TEST_F(FoundInsteadTest, AFileAsShortAsAHeaderIsNoPointer) {
  Put("model.safetensors", SafetensorsFile("{}", 0));
  EXPECT_TRUE(Opened().ok()) << Opened();
}

}  // namespace
}  // namespace quantd
