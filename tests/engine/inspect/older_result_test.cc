#include "engine/inspect/older_result.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/files.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace quantd {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class OlderResultTest : public ::testing::Test {
 protected:
  void Put(const std::string& name, std::string_view text = "x") {
    ASSERT_TRUE(WriteFileAtomic(Path(name), text).ok());
  }
  std::string Path(const std::string& name) const { return folder_.path() + "/" + name; }
  bool Has(const std::string& name) const { return PathExists(Path(name)); }
  void PutResult() {
    ASSERT_TRUE(MakeFolders(Path("quantd")).ok());
    for (const char* name : {"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors",
                             "model.safetensors.index.json", "config.json", "README.md",
                             "tokenizer.json", "quantd/report.json"}) {
      Put(name);
    }
    Put("quantd/manifest.json",
        R"({"schema":1,"files":[{"path":"README.md"},{"path":"quantd/report.json"},)"
        R"({"path":"config.json"},{"path":"../outside"},{"path":"/etc/passwd"},{"path":7}]})");
  }

  TemporaryFolder folder_ = *TemporaryFolder::Create("older-result-test");
};

TEST_F(OlderResultTest, ConfigurationGoesFirstAndTheManifestLast) {
  PutResult();
  EXPECT_THAT(*OlderResult(folder_.path()),
              ElementsAre("config.json", "model.safetensors.index.json",
                          "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors",
                          "README.md", "quantd/report.json", "quantd/manifest.json"));
}

TEST_F(OlderResultTest, IsRefusedByName) {
  PutResult();
  const absl::Status status = CheckNoOlderResult(folder_.path(), "--out");
  EXPECT_EQ(ReasonOf(status), Reason::kInvalidField);
  EXPECT_THAT(std::string(status.message()), HasSubstr("config.json"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("--force"));
}

TEST_F(OlderResultTest, WhatIsNotAModelIsNoResult) {
  Put("notes.txt");
  Put("tokenizer.json");
  EXPECT_THAT(*OlderResult(folder_.path()), IsEmpty());
  EXPECT_TRUE(CheckNoOlderResult(folder_.path(), "--out").ok());
  EXPECT_TRUE(CheckNoOlderResult(Path("not-there"), "--out").ok());
}

TEST_F(OlderResultTest, GoesWhole) {
  PutResult();
  Put("notes.txt");
  ASSERT_TRUE(RemoveOlderResult(folder_.path()).ok());
  EXPECT_THAT(*OlderResult(folder_.path()), IsEmpty());
  EXPECT_TRUE(Has("notes.txt"));
  EXPECT_FALSE(Has("README.md"));
}

TEST_F(OlderResultTest, AManifestLeadsNowhereElse) {
  ASSERT_TRUE(MakeFolders(Path("inner/quantd")).ok());
  Put("outside");
  ASSERT_TRUE(WriteFileAtomic(Path("inner/quantd/manifest.json"),
                              absl::StrCat(R"({"files":[{"path":"../outside"},{"path":")",
                                           Path("outside"), R"("}]})"))
                  .ok());
  ASSERT_TRUE(RemoveOlderResult(Path("inner")).ok());
  EXPECT_TRUE(Has("outside"));
}

TEST_F(OlderResultTest, WhatIsTheSameStays) {
  PutResult();
  ASSERT_TRUE(RemoveOlderResult(folder_.path(), [](const std::string& path) {
                return path == "model-00002-of-00002.safetensors";
              }).ok());
  EXPECT_TRUE(Has("model-00002-of-00002.safetensors"));
  EXPECT_FALSE(Has("model-00001-of-00002.safetensors"));
}

}  // namespace
}  // namespace quantd
