#include "base/threads.h"

#include <atomic>
#include <vector>

#include "base/clock.h"
#include "base/error.h"
#include "gtest/gtest.h"

namespace quantd {
namespace {

TEST(ThreadPoolTest, EveryPieceOnceForAnyNumberOfThreads) {
  for (const int threads : {1, 2, 5}) {
    ThreadPool pool(threads);
    for (const int64_t pieces : {0, 1, 3, 1000}) {
      std::vector<std::atomic<int>> calls(static_cast<size_t>(pieces));
      ASSERT_TRUE(pool.ForEach(pieces,
                               [&](int64_t piece) {
                                 ++calls[static_cast<size_t>(piece)];
                                 return absl::OkStatus();
                               })
                      .ok());
      for (const auto& count : calls) EXPECT_EQ(count, 1);
    }
  }
}

TEST(ThreadPoolTest, TheFirstErrorStopsTheLoopAndThePoolGoesOn) {
  ThreadPool pool(2);
  std::atomic<int64_t> calls = 0;
  const absl::Status status = pool.ForEach(100000, [&](int64_t piece) {
    ++calls;
    return piece == 3 ? MakeError(Reason::kDiskFull, "full") : absl::OkStatus();
  });
  EXPECT_EQ(ReasonOf(status), Reason::kDiskFull);
  EXPECT_LT(calls, 100000);
  EXPECT_TRUE(pool.ForEach(5, [](int64_t) { return absl::OkStatus(); }).ok());
}

TEST(ThreadPoolTest, AtLeastOneCpu) { EXPECT_GE(AvailableCpus(), 1); }

TEST(ManualClockTest, MovesOnlyWhenTold) {
  ManualClock clock(absl::UnixEpoch());
  clock.Advance(absl::Seconds(5));
  EXPECT_EQ(clock.Now(), absl::FromUnixSeconds(5));
}

}  // namespace
}  // namespace quantd
