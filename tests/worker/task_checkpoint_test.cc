// What is carried from attempt to attempt. The engine's part, what it takes of that, is tested in
// tests/engine/run/journal_test.cc; both together in tests/integration/test_resume.py.
#include "worker/agent/task_checkpoint.h"

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/files.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace quantd {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::Pair;

constexpr char kPrefix[] = "jobs/j/checkpoints/t/";

std::string Fingerprint(const std::string& run, const std::string& isa = "avx2") {
  return absl::StrCat(R"({"sha256":"x","body":{"engine":"1.0","isa":")", isa, R"(","model":")", run,
                      "\"}}");
}

class TaskCheckpointTest : public testing::Test {
 protected:
  // An attempt: its journal's folder, and its checkpoint.
  struct Attempt {
    std::string folder;
    std::unique_ptr<TaskCheckpoint> checkpoint = {};

    void Write(const std::string& name, const std::string& text) const {
      ASSERT_TRUE(MakeFolders(folder).ok());
      ASSERT_TRUE(WriteFileAtomic(absl::StrCat(folder, "/", name), text).ok());
    }
    void Begin(const std::string& fingerprint) const { Write("journal.json", fingerprint); }
    void SealBlock(int block, const std::string& text) const {
      Write(absl::StrCat("block-0000", block, ".safetensors"), text);
      Write(absl::StrCat("block-0000", block, ".rows.safetensors"), text + " rows");
      Write(absl::StrCat("block-0000", block, ".json"), text + " record");
    }
    void SaveBoundary(int block) const {
      Write(absl::StrCat("boundary-0000", block, ".safetensors"), "activations");
      Write(absl::StrCat("boundary-0000", block, ".json"), "record");
    }
    void DropBoundary(int block) const {
      for (const char* suffix : {".safetensors", ".json"}) {
        ASSERT_TRUE(RemoveTree(absl::StrCat(folder, "/boundary-0000", block, suffix)).ok());
      }
    }
    void Store() const {
      const absl::Status status = checkpoint->Store();
      ASSERT_TRUE(status.ok()) << status;
    }
    // name -> text of the folder.
    std::map<std::string, std::string> Files() const {
      std::map<std::string, std::string> files;
      const auto names = ListFolder(folder);
      for (const std::string& name : names.value_or(std::vector<std::string>())) {
        files[name] = ReadFile(absl::StrCat(folder, "/", name), 1 << 20).value();
      }
      return files;
    }
  };
  Attempt Begin(int64_t token, const std::string& isa = "avx2") {
    Attempt attempt{.folder = absl::StrCat(folder_.path(), "/attempt-", token, "/journal")};
    attempt.checkpoint =
        std::make_unique<TaskCheckpoint>(*blobs_, kPrefix, token, attempt.folder, "1.0", isa);
    const absl::Status status = attempt.checkpoint->Fetch();
    EXPECT_TRUE(status.ok()) << status;
    return attempt;
  }
  std::vector<std::string> Stored(int64_t token) const {
    std::vector<std::string> names;
    const std::string prefix = absl::StrCat(kPrefix, token);
    const auto listed = blobs_->List(prefix);
    for (const std::string& name : *listed) {
      names.push_back(name.substr(prefix.size() + 1));
    }
    return names;
  }

  TemporaryFolder folder_ = *TemporaryFolder::Create("checkpoint");
  std::unique_ptr<BlobStore> blobs_ = *OpenBlobStore("file://" + folder_.path() + "/blobs");
};

TEST_F(TaskCheckpointTest, AnAttemptBeginsWithWhatTheOneBeforeItSealed) {
  const Attempt first = Begin(1);
  EXPECT_THAT(first.Files(), IsEmpty());
  first.Store();  // before there is anything
  first.Write("journal-recipe.json", "chosen");
  first.Begin(Fingerprint("a"));
  first.SealBlock(0, "zero");
  first.Store();
  EXPECT_EQ(first.checkpoint->sealed(), 2);
  first.SealBlock(1, "one");
  first.Write("block-00002.safetensors", "not sealed");
  first.Store();
  EXPECT_EQ(first.checkpoint->sealed(), 3);

  const Attempt second = Begin(2);
  auto wanted = first.Files();
  wanted.erase("block-00002.safetensors");
  EXPECT_EQ(second.Files(), wanted);
  EXPECT_EQ(second.checkpoint->sealed(), 3);
}

TEST_F(TaskCheckpointTest, WhatWasFetchedIsNotStoredAgainAndOfThreeAttemptsAllIsTaken) {
  const Attempt first = Begin(1);
  first.Begin(Fingerprint("a"));
  first.SealBlock(0, "zero");
  first.Store();
  const Attempt second = Begin(2);
  second.SealBlock(1, "one");
  second.Store();
  EXPECT_EQ(second.checkpoint->sealed(), 2);
  EXPECT_THAT(Stored(2), ElementsAre("block-00001.json", "block-00001.rows.safetensors",
                                     "block-00001.safetensors", "journal.json"));
  const Attempt third = Begin(5);
  EXPECT_EQ(third.Files(), second.Files());
  EXPECT_EQ(third.checkpoint->sealed(), 2);
}

TEST_F(TaskCheckpointTest, OnlyTheBoundaryThatIsNeededIsKeptAndFetched) {
  const Attempt first = Begin(1);
  first.Begin(Fingerprint("a"));
  first.SealBlock(0, "zero");
  first.SaveBoundary(1);
  first.Store();
  first.SealBlock(1, "one");
  first.SaveBoundary(2);
  first.DropBoundary(1);
  first.Store();
  EXPECT_THAT(
      Stored(1),
      ElementsAre("block-00000.json", "block-00000.rows.safetensors", "block-00000.safetensors",
                  "block-00001.json", "block-00001.rows.safetensors", "block-00001.safetensors",
                  "boundary-00002.json", "boundary-00002.safetensors", "journal.json"));
  const Attempt second = Begin(2);
  EXPECT_TRUE(second.Files().contains("boundary-00002.json"));
  second.SealBlock(2, "two");
  second.SaveBoundary(3);
  second.DropBoundary(2);
  second.Store();
  const Attempt third = Begin(3);
  EXPECT_TRUE(third.Files().contains("boundary-00003.json"));
  EXPECT_FALSE(third.Files().contains("boundary-00002.json"));
}

TEST_F(TaskCheckpointTest, ABlockOfAnotherRunIsNeverTaken) {
  const Attempt first = Begin(1);
  first.Begin(Fingerprint("a"));
  first.SealBlock(0, "of a");
  first.Store();
  // Another kind of machine begins anew, and so does the next run on the first kind.
  const Attempt other = Begin(2, "avx512");
  EXPECT_THAT(other.Files(), IsEmpty());
  other.Begin(Fingerprint("a", "avx512"));
  other.SealBlock(0, "of avx512");
  other.SealBlock(1, "of avx512");
  other.Store();
  EXPECT_EQ(other.checkpoint->sealed(), 2);
  EXPECT_EQ(Begin(3).Files()["block-00000.safetensors"], "of a");
  EXPECT_EQ(Begin(4, "avx512").Files()["block-00001.safetensors"], "of avx512");
  EXPECT_THAT(Begin(5, "scalar").Files(), IsEmpty());
}

TEST_F(TaskCheckpointTest, AnEngineThatRefusesWhatItFindsBeginsANewOne) {
  const Attempt first = Begin(1);
  first.Begin(Fingerprint("a"));
  first.SealBlock(0, "of a");
  first.SealBlock(1, "of a");
  first.Store();
  const Attempt second = Begin(2);
  EXPECT_EQ(second.checkpoint->sealed(), 2);
  ASSERT_TRUE(RemoveTree(second.folder).ok());
  second.Begin(Fingerprint("b"));
  second.SealBlock(0, "of b");
  second.Store();
  EXPECT_EQ(second.checkpoint->sealed(), 1);
  const Attempt third = Begin(3);
  EXPECT_EQ(third.Files()["block-00000.safetensors"], "of b");
  EXPECT_FALSE(third.Files().contains("block-00001.safetensors")) << "of a";
}

// A worker that is thought dead goes on storing: below its own token, which is older.
TEST_F(TaskCheckpointTest, AWorkerFromTheDeadHarmsNobody) {
  const Attempt zombie = Begin(1);
  zombie.Begin(Fingerprint("a"));
  zombie.SealBlock(0, "zero");
  zombie.Store();
  const Attempt second = Begin(2);
  second.SealBlock(1, "one");
  second.Store();
  zombie.SealBlock(1, "late");
  zombie.Store();
  EXPECT_EQ(Begin(3).Files()["block-00001.safetensors"], "one");
}

TEST_F(TaskCheckpointTest, ABlockThatWasDamagedAndMadeAgainIsStoredAgain) {
  const Attempt first = Begin(1);
  first.Begin(Fingerprint("a"));
  first.SealBlock(0, "damaged");
  first.Store();
  const Attempt second = Begin(2);
  second.SealBlock(0, "again");
  second.Store();
  EXPECT_EQ(second.checkpoint->sealed(), 1);
  EXPECT_EQ(Begin(3).Files()["block-00000.safetensors"], "again");
}

TEST_F(TaskCheckpointTest, BlocksWithoutAFingerprintAreNobodys) {
  const Attempt first = Begin(1);
  first.Begin(Fingerprint("a"));
  first.SealBlock(0, "zero");
  first.Write("journal-recipe.json", "chosen");
  first.Store();
  ASSERT_TRUE(blobs_->DeleteAll(absl::StrCat(kPrefix, "1/journal.json")).ok());
  EXPECT_THAT(Begin(2).Files(), ElementsAre(Pair("journal-recipe.json", "chosen")));
}

TEST_F(TaskCheckpointTest, WhatCannotBeStoredIsStoredTheNextTime) {
  const Attempt first = Begin(1);
  first.Begin(Fingerprint("a"));
  first.SealBlock(0, "zero");
  // A file where the folder of the attempt goes.
  const std::string place = absl::StrCat(folder_.path(), "/blobs/", kPrefix, "1");
  ASSERT_TRUE(MakeFolders(folder_.path() + "/blobs/jobs/j/checkpoints/t").ok());
  ASSERT_TRUE(WriteFileAtomic(place, "in the way").ok());
  EXPECT_FALSE(first.checkpoint->Store().ok());
  EXPECT_EQ(first.checkpoint->sealed(), 0);
  ASSERT_TRUE(RemoveTree(place).ok());
  first.Store();
  EXPECT_EQ(first.checkpoint->sealed(), 1);
}

}  // namespace
}  // namespace quantd
