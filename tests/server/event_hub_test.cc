#include "server/event_hub.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <future>
#include <stdexcept>
#include <thread>
#include <vector>

namespace quantd {
namespace {

constexpr absl::Duration kLong = absl::Seconds(30);

// Set once, by one thread, and waited for by another.
class Signal {
 public:
  void Notify() { promise_.set_value(); }
  bool IsSet() const { return Wait(absl::ZeroDuration()); }
  bool Wait(absl::Duration timeout = kLong) const {
    return future_.wait_for(absl::ToChronoMilliseconds(timeout)) == std::future_status::ready;
  }

 private:
  std::promise<void> promise_;
  std::future<void> future_ = promise_.get_future();
};

TEST(EventHubTest, WakesOnAnnouncement) {
  Executor executor(2);
  EventHub hub(executor);
  Signal woken;
  hub.Wait("a", hub.Seen("a"), absl::InfiniteDuration(), [&] { woken.Notify(); });
  EXPECT_FALSE(woken.IsSet());
  hub.Announce("a");
  EXPECT_TRUE(woken.Wait());
}

TEST(EventHubTest, NothingIsMissedBetweenLookingAndWaiting) {
  Executor executor(2);
  EventHub hub(executor);
  const uint64_t seen = hub.Seen("a");
  hub.Announce("a");
  Signal woken;
  hub.Wait("a", seen, absl::InfiniteDuration(), [&] { woken.Notify(); });
  EXPECT_TRUE(woken.Wait());
}

TEST(EventHubTest, DeadlinesAreTheClocks) {
  Executor executor(2);
  ManualClock clock(absl::FromUnixSeconds(0));
  EventHub hub(executor, clock);
  Signal woken;
  hub.Wait("a", hub.Seen("a"), absl::Hours(1), [&] { woken.Notify(); });
  EXPECT_FALSE(woken.IsSet());
  clock.Advance(absl::Hours(1));
  EXPECT_TRUE(woken.Wait());
}

TEST(ExecutorTest, WhatThrowsIsLostAndTheThreadLivesOn) {
  Executor executor(1);
  executor.Run([] { throw std::runtime_error("a library's own"); });
  Signal ran;
  executor.Run([&] { ran.Notify(); });
  EXPECT_TRUE(ran.Wait());
}

TEST(EventHubTest, WakesAtItsDeadlineOnRequestAndAtStop) {
  Executor executor(2);
  EventHub hub(executor);
  Signal late, asked, stopped, after;
  hub.Wait("a", hub.Seen("a"), absl::Milliseconds(5), [&] { late.Notify(); });
  EXPECT_TRUE(late.Wait());
  const auto ticket = hub.Wait("a", hub.Seen("a"), kLong, [&] { asked.Notify(); });
  hub.WakeNow(ticket);
  hub.WakeNow(ticket);
  EXPECT_TRUE(asked.Wait());
  hub.Wait("a", hub.Seen("a"), absl::InfiniteDuration(), [&] { stopped.Notify(); });
  hub.Stop();
  EXPECT_TRUE(stopped.Wait());
  hub.Wait("a", hub.Seen("a"), absl::InfiniteDuration(), [&] { after.Notify(); });
  EXPECT_TRUE(after.Wait());
}

TEST(EventHubTest, EachWaiterWakesExactlyOnceUnderLoad) {
  Executor executor(3);
  std::atomic<int> woken = 0;
  constexpr int kWaiters = 400;
  {
    EventHub hub(executor);
    std::vector<std::thread> threads;
    for (int t = 0; t < 2; ++t) {
      threads.emplace_back([&] {
        for (int i = 0; i < kWaiters / 2; ++i) {
          const auto ticket =
              hub.Wait("a", hub.Seen("a"), absl::Milliseconds(i % 7), [&] { ++woken; });
          if (i % 3 == 0) hub.WakeNow(ticket);
          if (i % 5 == 0) hub.Announce("a");
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    hub.Stop();
  }
  executor.Stop();
  EXPECT_EQ(woken.load(), kWaiters);
}

}  // namespace
}  // namespace quantd
