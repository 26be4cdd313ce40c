#include "base/clock.h"

#include <thread>

#include "gtest/gtest.h"

namespace quantd {
namespace {

TEST(ManualClockTest, WhoWaitsIsWokenWhenTheClockIsTurnedFarEnough) {
  ManualClock clock(absl::FromUnixSeconds(0));
  absl::Mutex mutex;
  bool condition = false;
  bool woken_by_condition = true;
  std::thread waiting([&] {
    absl::MutexLock lock(&mutex);
    woken_by_condition =
        clock.Await(mutex, absl::Condition(&condition), absl::FromUnixSeconds(3600));
  });
  clock.Advance(absl::Hours(1));
  waiting.join();
  EXPECT_FALSE(woken_by_condition);
}

TEST(ManualClockTest, AConditionNeedsNoTime) {
  ManualClock clock(absl::FromUnixSeconds(0));
  absl::Mutex mutex;
  bool condition = false;
  std::thread waiting([&] {
    absl::MutexLock lock(&mutex);
    EXPECT_TRUE(clock.Await(mutex, absl::Condition(&condition), absl::InfiniteFuture()));
  });
  {
    absl::MutexLock lock(&mutex);
    condition = true;
  }
  waiting.join();
}

}  // namespace
}  // namespace quantd
