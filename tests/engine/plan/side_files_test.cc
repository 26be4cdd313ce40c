#include "engine/plan/side_files.h"

#include <string>

#include "base/files.h"
#include "engine/tensor/model_folder.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace quantd {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class SideFilesTest : public ::testing::Test {
 protected:
  void Put(const std::string& name, const std::string& text = "{}") {
    ASSERT_TRUE(WriteFileAtomic(folder_.path() + "/" + name, text).ok());
  }
  SideFiles Find() const { return *FindSideFiles(**OpenModelFolder(folder_.path())); }
  TemporaryFolder folder_ = *TemporaryFolder::Create("side-files");
};

TEST_F(SideFilesTest, WhatEnginesReadGoesAlong) {
  for (const char* name : {"tokenizer.json", "qwen.tiktoken", "tekken.json", "spiece.model",
                           "video_preprocessor_config.json", "chat_template.jinja", "LICENSE.txt",
                           "config.json", "model.safetensors", "README.md", "notes.txt"}) {
    Put(name);
  }
  const SideFiles found = Find();
  EXPECT_THAT(found.carried,
              ElementsAre("LICENSE.txt", "chat_template.jinja", "qwen.tiktoken", "spiece.model",
                          "tekken.json", "tokenizer.json", "video_preprocessor_config.json"));
  EXPECT_THAT(found.left, IsEmpty());
}

TEST_F(SideFilesTest, CodeGoesAlongWhereAConfigurationNamesIt) {
  Put("modeling_novel.py", "");
  Put("my_tokens.bin");
  Put("config.json", R"({"model_type": "novel"})");
  EXPECT_THAT(Find().carried, IsEmpty());
  EXPECT_THAT(Find().left, ElementsAre("modeling_novel.py", "my_tokens.bin"));
  Put("config.json", R"({"auto_map": {"AutoConfig": "modeling_novel.NovelConfig"}})");
  EXPECT_THAT(Find().carried, ElementsAre("modeling_novel.py"));
  EXPECT_THAT(Find().left, ElementsAre("my_tokens.bin"));
}

}  // namespace
}  // namespace quantd
