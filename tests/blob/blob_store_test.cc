#include "blob/blob_store.h"

#include <cerrno>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/file_faults.h"
#include "base/files.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/blob/s3_server.h"

namespace quantd {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

// Opens a new, empty store; `folder` is the test's own. Null: there is none here.
using OpenStore = std::unique_ptr<BlobStore> (*)(const TemporaryFolder& folder);

std::unique_ptr<BlobStore> OpenLocal(const TemporaryFolder& folder) {
  return *OpenBlobStore("file://" + folder.path() + "/blobs");
}
std::unique_ptr<BlobStore> OpenS3(const TemporaryFolder& /*folder*/) {
  S3Server* server = S3Server::Get();
  return server == nullptr ? nullptr : *OpenBlobStore(server->NewUri());
}

// Runs against every store there is.
class BlobStoreTest : public ::testing::TestWithParam<OpenStore> {
 protected:
  void SetUp() override {
    store_ = GetParam()(folder_);
    if (store_ == nullptr) GTEST_SKIP() << "no S3 server here: ./dev objects";
  }
  std::string File(const std::string& text) {
    const std::string path = folder_.path() + "/file";
    EXPECT_TRUE(WriteFileAtomic(path, text).ok());
    return path;
  }
  std::string Content(const std::string& name) {
    const auto reader = store_->Open(name);
    if (!reader.ok()) return std::string(reader.status().message());
    std::string text(static_cast<size_t>((*reader)->size()), '\0');
    EXPECT_TRUE(
        (*reader)->Read(0, std::as_writable_bytes(std::span(text.data(), text.size()))).ok());
    return text;
  }
  TemporaryFolder folder_ = *TemporaryFolder::Create("blob-test");
  std::unique_ptr<BlobStore> store_;
};

TEST_P(BlobStoreTest, PutConsumesTheFileAndOpenFindsIt) {
  const std::string path = File("one");
  ASSERT_TRUE(store_->PutFile("jobs/j1/1/model.safetensors", path).ok());
  EXPECT_FALSE(PathExists(path));
  EXPECT_EQ(Content("jobs/j1/1/model.safetensors"), "one");
  ASSERT_TRUE(store_->PutFile("jobs/j1/1/model.safetensors", File("two")).ok());
  EXPECT_EQ(Content("jobs/j1/1/model.safetensors"), "two");
}

TEST_P(BlobStoreTest, CopiesLeaveWhatTheyAreOf) {
  const std::string path = File("one");
  ASSERT_TRUE(store_->PutCopy("jobs/j1/checkpoints/t1/1/block-00000.json", path).ok());
  EXPECT_EQ(ReadFile(path, 100).value(), "one");
  EXPECT_EQ(Content("jobs/j1/checkpoints/t1/1/block-00000.json"), "one");
  // Replaced as files of a journal are: a new file takes the name.
  ASSERT_TRUE(WriteFileAtomic(path, "two").ok());
  EXPECT_EQ(Content("jobs/j1/checkpoints/t1/1/block-00000.json"), "one");
  ASSERT_TRUE(store_->PutCopy("jobs/j1/checkpoints/t1/1/block-00000.json", path).ok());
  EXPECT_EQ(Content("jobs/j1/checkpoints/t1/1/block-00000.json"), "two");

  const std::string back = folder_.path() + "/back";
  ASSERT_TRUE(store_->GetCopy("jobs/j1/checkpoints/t1/1/block-00000.json", back).ok());
  ASSERT_TRUE(store_->DeleteAll("jobs/j1").ok());
  EXPECT_EQ(ReadFile(back, 100).value(), "two");
  EXPECT_FALSE(store_->GetCopy("jobs/j1/checkpoints/t1/1/block-00000.json", back).ok());
}

TEST_P(BlobStoreTest, ListAndDeleteTakeWholeParts) {
  for (const std::string name : {"jobs/a/1/x", "jobs/a/2/y", "jobs/ab/1/z"}) {
    ASSERT_TRUE(store_->PutFile(name, File(name)).ok());
  }
  EXPECT_THAT(*store_->List("jobs/a"), ElementsAre("jobs/a/1/x", "jobs/a/2/y"));
  ASSERT_TRUE(store_->DeleteAll("jobs/a").ok());
  EXPECT_THAT(*store_->List("jobs/a"), IsEmpty());
  EXPECT_EQ(Content("jobs/ab/1/z"), "jobs/ab/1/z");
  EXPECT_TRUE(store_->DeleteAll("jobs/none").ok());
}

TEST_P(BlobStoreTest, MissingBlobsAreNotFound) {
  EXPECT_EQ(ReasonOf(store_->Open("jobs/none").status()), Reason::kArtifactNotFound);
}

TEST_P(BlobStoreTest, NamesCannotLeaveTheStore) {
  for (const std::string name :
       {"", "/etc/passwd", "a//b", "../x", "a/../../x", "a/.", "a b", "a\nb", "a/"}) {
    EXPECT_FALSE(store_->PutFile(name, File("x")).ok()) << name;
    EXPECT_FALSE(store_->Open(name).ok()) << name;
    EXPECT_FALSE(store_->DeleteAll(name).ok()) << name;
  }
  EXPECT_FALSE(CheckBlobName(std::string(2000, 'a')).ok());
}

TEST_P(BlobStoreTest, ReadsBeyondTheEndAreErrors) {
  ASSERT_TRUE(store_->PutFile("a", File("12345")).ok());
  const auto reader = store_->Open("a");
  std::array<std::byte, 3> bytes{};
  EXPECT_TRUE((*reader)->Read(2, bytes).ok());
  EXPECT_FALSE((*reader)->Read(3, bytes).ok());
}

// More than one part, and reads of every size.
TEST_P(BlobStoreTest, ALargeBlobIsReadInPieces) {
  std::string text;
  for (int i = 0; text.size() < size_t{40} << 20; ++i) absl::StrAppend(&text, i, ",");
  ASSERT_TRUE(store_->PutFile("large", File(text)).ok());
  const auto blob = store_->Open("large");
  ASSERT_TRUE(blob.ok()) << blob.status();
  ASSERT_EQ((*blob)->size(), static_cast<int64_t>(text.size()));
  for (const int64_t offset : {int64_t{0}, int64_t{17} << 20, (*blob)->size() - 3'000'000}) {
    for (const size_t count : {size_t{1}, size_t{1000}, size_t{3'000'000}}) {
      std::string piece(count, '\0');
      ASSERT_TRUE(
          (*blob)->Read(offset, std::as_writable_bytes(std::span(piece.data(), count))).ok());
      EXPECT_EQ(piece, text.substr(static_cast<size_t>(offset), count));
    }
  }
  std::string whole(text.size(), '\0');
  ASSERT_TRUE((*blob)->Read(0, std::as_writable_bytes(std::span(whole.data(), whole.size()))).ok());
  EXPECT_TRUE(whole == text);
  const std::string back = folder_.path() + "/back";
  ASSERT_TRUE(store_->GetCopy("large", back).ok());
  EXPECT_EQ(*ReadFile(back, int64_t{1} << 30), text);
}

INSTANTIATE_TEST_SUITE_P(Local, BlobStoreTest, ::testing::Values(&OpenLocal));
INSTANTIATE_TEST_SUITE_P(S3, BlobStoreTest, ::testing::Values(&OpenS3));

class LocalBlobStoreTest : public BlobStoreTest {};
INSTANTIATE_TEST_SUITE_P(Local, LocalBlobStoreTest, ::testing::Values(&OpenLocal));

// What PutFile has answered for survives a loss of power: the bytes are synced before the name is
// given, and each folder that got a new name before the answer.
TEST_P(LocalBlobStoreTest, PutSyncsTheBytesTheNameAndTheNewFolders) {
  const std::string path = File("one");
  const std::string blobs = folder_.path() + "/blobs";
  const FileFaults faults;
  ASSERT_TRUE(store_->PutFile("jobs/j1/1/a", path).ok());
  EXPECT_THAT(faults.calls(), ElementsAre("sync-folder " + blobs, "sync-folder " + blobs + "/jobs",
                                          "sync-folder " + blobs + "/jobs/j1", "sync " + path,
                                          "rename " + path + " " + blobs + "/jobs/j1/1/a",
                                          "sync-folder " + blobs + "/jobs/j1/1"));
}

TEST_P(LocalBlobStoreTest, AcrossFileSystemsTheBytesAreCopied) {
  const std::string path = File("one");
  const FileFaults faults({.faults = {{.call = FileCall::kRename, .error_number = EXDEV}}});
  ASSERT_TRUE(store_->PutFile("jobs/j1/1/a", path).ok());
  EXPECT_EQ(Content("jobs/j1/1/a"), "one");
  EXPECT_FALSE(PathExists(path));
}

// Every call that PutFile makes, with a plain move and with a copy, fails once; and the process is
// killed at every one of them.
TEST_P(LocalBlobStoreTest, WhateverFailsABlobIsWholeOrNotThere) {
  const FileFault across = {.call = FileCall::kRename, .error_number = EXDEV};
  for (const std::vector<FileFault>& faults : {std::vector<FileFault>{}, {across}}) {
    for (int at = 1;; ++at) {
      const std::string name = absl::StrCat("jobs/j", faults.size(), "/", at, "/a");
      const std::string path = File("content");
      bool done = false;
      {
        const FileFaults fault({.faults = faults, .dead_from = at});
        done = store_->PutFile(name, path).ok();
      }
      const auto reader = store_->Open(name);
      EXPECT_TRUE(!reader.ok() || Content(name) == "content") << "killed at call " << at;
      if (done) {
        EXPECT_TRUE(reader.ok());
        break;
      }
      EXPECT_TRUE(reader.ok() || PathExists(path)) << "lost when killed at call " << at;
    }
  }
}

TEST_P(LocalBlobStoreTest, AFullDiskIsSaidSo) {
  const FileFaults faults({.faults = {{.call = FileCall::kSync, .error_number = ENOSPC}}});
  std::string path = folder_.path() + "/plain";
  {
    auto file = AtomicFile::Create(path, Durability::kNamed);
    ASSERT_TRUE(file.ok() && file->Seal().ok());
  }
  EXPECT_EQ(ReasonOf(store_->PutFile("a", path)), Reason::kDiskFull);
  EXPECT_EQ(ReasonOf(store_->Open("a").status()), Reason::kArtifactNotFound);
  EXPECT_TRUE(PathExists(path));
}

TEST(OpenBlobStoreTest, UnknownKindsAreRefused) {
  for (const std::string uri : {"", "s3://bucket", "file://relative", "file://", "/plain/path"}) {
    EXPECT_EQ(ReasonOf(OpenBlobStore(uri).status()), Reason::kInvalidField) << uri;
  }
}

}  // namespace
}  // namespace quantd
