#include "base/files.h"

#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>

#include "base/digest.h"
#include "base/error.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace quantd {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class FilesTest : public ::testing::Test {
 protected:
  std::string Path(const std::string& name) const { return folder_.path() + "/" + name; }
  static std::span<const std::byte> Bytes(const std::string& text) {
    return std::as_bytes(std::span(text.data(), text.size()));
  }
  TemporaryFolder folder_ = *TemporaryFolder::Create("files-test");
};

TEST_F(FilesTest, WritesWholeFilesWithTheirDigest) {
  const auto sealed = WriteFileAtomic(Path("a"), "hello");
  ASSERT_TRUE(sealed.ok()) << sealed.status();
  EXPECT_EQ(sealed->bytes, 5);
  EXPECT_EQ(sealed->sha256, Sha256Hex("hello"));
  EXPECT_EQ(*ReadFile(Path("a"), 100), "hello");
  EXPECT_EQ(CopyFileAtomic(Path("a"), Path("b"))->sha256, sealed->sha256);
  EXPECT_THAT(*ListFolder(folder_.path()), ElementsAre("a", "b"));
}

TEST_F(FilesTest, AFileThatIsNotSealedLeavesNothing) {
  {
    auto file = AtomicFile::Create(Path("a"));
    ASSERT_TRUE(file->Append(Bytes("half")).ok());
  }
  EXPECT_THAT(*ListFolder(folder_.path()), IsEmpty());
}

TEST_F(FilesTest, ReplacingKeepsTheOldFileUntilTheNewOneIsComplete) {
  ASSERT_TRUE(WriteFileAtomic(Path("a"), "old").ok());
  auto file = AtomicFile::Create(Path("a"));
  ASSERT_TRUE(file->Append(Bytes("new")).ok());
  EXPECT_EQ(*ReadFile(Path("a"), 10), "old");
  ASSERT_TRUE(file->Seal().ok());
  EXPECT_EQ(*ReadFile(Path("a"), 10), "new");
}

TEST_F(FilesTest, ReadingPastTheEndIsDataLoss) {
  ASSERT_TRUE(WriteFileAtomic(Path("a"), "12345").ok());
  const auto file = RandomAccessFile::Open(Path("a"));
  std::array<std::byte, 4> bytes{};
  EXPECT_TRUE((*file)->Read(1, bytes).ok());
  EXPECT_EQ(ReasonOf((*file)->Read(2, bytes)), Reason::kModelCorrupt);
  ASSERT_EQ(::truncate(Path("a").c_str(), 2), 0);
  EXPECT_EQ((*file)->Read(0, bytes).code(), absl::StatusCode::kDataLoss);
}

TEST_F(FilesTest, OnlyRegularFilesAreRead) {
  ASSERT_EQ(::mkfifo(Path("pipe").c_str(), 0600), 0);
  EXPECT_FALSE(RandomAccessFile::Open(Path("pipe")).ok());
  EXPECT_FALSE(RandomAccessFile::Open(folder_.path()).ok());
  EXPECT_FALSE(ReadFile(Path("none"), 10).ok());
  ASSERT_TRUE(WriteFileAtomic(Path("big"), "123456").ok());
  EXPECT_FALSE(ReadFile(Path("big"), 5).ok());
}

TEST_F(FilesTest, LinksCannotLeaveTheRoot) {
  ASSERT_TRUE(MakeFolders(Path("root/inside")).ok());
  ASSERT_TRUE(MakeFolders(Path("root-beside")).ok());
  std::filesystem::create_directory_symlink(Path("root-beside"), Path("root/link"));
  EXPECT_TRUE(*IsBelow(Path("root/inside"), Path("root")));
  EXPECT_TRUE(*IsBelow(Path("root"), Path("root")));
  EXPECT_FALSE(*IsBelow(Path("root/link"), Path("root")));
  EXPECT_FALSE(*IsBelow(Path("root/../root-beside"), Path("root")));
  EXPECT_FALSE(*IsBelow(Path("root-beside"), Path("root")));
  EXPECT_FALSE(IsBelow(Path("missing"), Path("root")).ok());
}

// A file-size limit stands for a full disk: write(2) fails in the same place.
TEST_F(FilesTest, AFullDiskIsSaidSoAndLeavesNothing) {
  struct rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  std::signal(SIGXFSZ, SIG_IGN);
  struct rlimit small = before;
  small.rlim_cur = 4096;
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const absl::Status status = WriteFileAtomic(Path("a"), std::string(10000, 'x')).status();
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  EXPECT_EQ(ReasonOf(status), Reason::kDiskFull) << status;
  EXPECT_THAT(*ListFolder(folder_.path()), IsEmpty());
}

}  // namespace
}  // namespace quantd
