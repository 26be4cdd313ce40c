// Files whose writing goes wrong at every step: what is under the final name is whole, the old one
// or the new one, and what was acknowledged is synced in the right order.
#include "base/file_faults.h"

#include <cerrno>
#include <string>
#include <vector>

#include "base/durable.h"
#include "base/error.h"
#include "base/files.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace quantd {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;

class FileFaultsTest : public testing::Test {
 protected:
  std::string Path(const std::string& name) const { return folder_.path() + "/" + name; }
  // WriteFileAtomic as everybody uses it.
  absl::Status Write(const std::string& text) const {
    return WriteFileAtomic(Path("a"), text).status();
  }
  std::string Content() const { return ReadFile(Path("a"), 1 << 20).value(); }

  TemporaryFolder folder_ = *TemporaryFolder::Create("file-faults");
};

TEST_F(FileFaultsTest, TheBytesAreSyncedBeforeTheNameAndTheNameBeforeTheAnswer) {
  const FileFaults faults;
  ASSERT_TRUE(Write("text").ok());
  EXPECT_THAT(
      faults.calls(),
      ElementsAre(StartsWith("write " + Path("a.partial")), StartsWith("sync " + Path("a.partial")),
                  HasSubstr(" " + Path("a")), "sync-folder " + folder_.path()));
}

TEST_F(FileFaultsTest, EveryCallThatFailsIsAnErrorAndLeavesTheOldFile) {
  struct Case {
    FileCall call;
    int error_number;
    Reason reason;
  };
  ASSERT_TRUE(Write("old").ok());
  for (const Case& c :
       {Case{FileCall::kWrite, ENOSPC, Reason::kDiskFull}, Case{FileCall::kWrite, EIO, Reason::kIo},
        Case{FileCall::kSync, EIO, Reason::kIo}, Case{FileCall::kSync, ENOSPC, Reason::kDiskFull},
        Case{FileCall::kRename, EACCES, Reason::kIo}}) {
    const FileFaults faults({.faults = {{.call = c.call, .error_number = c.error_number}}});
    EXPECT_EQ(ReasonOf(Write("new")), c.reason);
    EXPECT_EQ(Content(), "old");
    EXPECT_THAT(*ListFolder(folder_.path()), ElementsAre("a")) << "something was left behind";
  }
}

TEST_F(FileFaultsTest, AFolderThatCannotBeSyncedIsNoSuccess) {
  const FileFaults faults({.faults = {{.call = FileCall::kSyncFolder, .error_number = EIO}}});
  EXPECT_EQ(ReasonOf(Write("new")), Reason::kIo);
}

TEST_F(FileFaultsTest, ShortWritesAreContinued) {
  const FileFaults faults({.faults = {{.call = FileCall::kWrite, .nth = 1, .bytes = 3},
                                      {.call = FileCall::kWrite, .nth = 2, .bytes = 1}}});
  ASSERT_TRUE(Write("0123456789").ok());
  EXPECT_EQ(Content(), "0123456789");
}

TEST_F(FileFaultsTest, KilledAtAnyCallTheNameShowsTheOldFileOrTheNewOne) {
  size_t calls = 0;
  {
    const FileFaults faults;
    ASSERT_TRUE(Write("old").ok());
    calls = faults.calls().size();
  }
  for (size_t at = 1; at <= calls; ++at) {
    {
      const FileFaults faults({.dead_from = static_cast<int>(at)});
      EXPECT_FALSE(Write("new").ok()) << at;
    }
    const std::string content = Content();
    EXPECT_TRUE(content == "old" || content == "new") << "after call " << at << ": " << content;
    EXPECT_TRUE(at == calls || content == "old") << "after call " << at;
  }
}

TEST_F(FileFaultsTest, NewFoldersAreSyncedIntoTheirParents) {
  const FileFaults faults;
  ASSERT_TRUE(MakeFoldersDurable(Path("x/y/z")).ok());
  EXPECT_THAT(faults.calls(),
              ElementsAre("sync-folder " + folder_.path(), "sync-folder " + Path("x"),
                          "sync-folder " + Path("x/y")));
  ASSERT_TRUE(MakeFoldersDurable(Path("x/y/z")).ok());
  EXPECT_EQ(faults.calls().size(), 3u) << "nothing new, nothing to sync";
}

}  // namespace
}  // namespace quantd
