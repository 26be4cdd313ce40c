#include "engine/tensor/scratch_memory.h"

#include <sys/resource.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <fstream>

#include "base/error.h"
#include "base/files.h"
#include "gtest/gtest.h"

namespace quantd {
namespace {

// Of this process, shared file pages included.
int64_t ResidentBytes() {
  int64_t size = 0, resident = 0;
  std::ifstream("/proc/self/statm") >> size >> resident;
  return resident * ::sysconf(_SC_PAGESIZE);
}

TEST(ScratchMemoryTest, KeepsWhatIsWrittenAndReleased) {
  const auto folder = TemporaryFolder::Create("scratch-test");
  constexpr int64_t kBytes = 32 << 20;
  auto memory = ScratchMemory::Make(kBytes, folder->path());
  ASSERT_TRUE(memory.ok()) << memory.status();
  EXPECT_TRUE(ListFolder(folder->path())->empty());  // no name
  EXPECT_EQ(memory->data()[kBytes - 1], std::byte{0});
  std::memset(memory->data(), 7, static_cast<size_t>(kBytes));
  const int64_t before = ResidentBytes();
  memory->Release(memory->data(), kBytes);
  EXPECT_LT(ResidentBytes(), before - kBytes / 2);
  EXPECT_EQ(memory->data()[kBytes / 2], std::byte{7});
  const ScratchMemory moved = *std::move(memory);
  EXPECT_EQ(moved.data()[kBytes - 1], std::byte{7});
}

// The limit stands in for a full disk.
TEST(ScratchMemoryTest, RefusesBeforeAnythingIsWritten) {
  const auto folder = TemporaryFolder::Create("scratch-test");
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit small{1 << 20, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const auto memory = ScratchMemory::Make(2 << 20, folder->path());
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  std::signal(SIGXFSZ, handler);
  EXPECT_EQ(ReasonOf(memory.status()), Reason::kDiskFull);
  EXPECT_EQ(ReasonOf(ScratchMemory::Make(4096, folder->path() + "/none").status()), Reason::kIo);
}

}  // namespace
}  // namespace quantd
