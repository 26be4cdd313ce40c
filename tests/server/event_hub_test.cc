#include "server/event_hub.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "absl/synchronization/notification.h"

namespace quantd {
namespace {

constexpr absl::Duration kLong = absl::Seconds(30);

TEST(EventHubTest, WakesOnAnnouncement) {
  Executor executor(2);
  EventHub hub(executor);
  absl::Notification woken;
  hub.Wait("a", hub.Seen("a"), absl::InfiniteDuration(), [&] { woken.Notify(); });
  EXPECT_FALSE(woken.HasBeenNotified());
  hub.Announce("a");
  EXPECT_TRUE(woken.WaitForNotificationWithTimeout(kLong));
}

TEST(EventHubTest, NothingIsMissedBetweenLookingAndWaiting) {
  Executor executor(2);
  EventHub hub(executor);
  const uint64_t seen = hub.Seen("a");
  hub.Announce("a");
  absl::Notification woken;
  hub.Wait("a", seen, absl::InfiniteDuration(), [&] { woken.Notify(); });
  EXPECT_TRUE(woken.WaitForNotificationWithTimeout(kLong));
}

TEST(EventHubTest, WakesAtItsDeadlineOnRequestAndAtStop) {
  Executor executor(2);
  EventHub hub(executor);
  absl::Notification late, asked, stopped, after;
  hub.Wait("a", hub.Seen("a"), absl::Milliseconds(5), [&] { late.Notify(); });
  EXPECT_TRUE(late.WaitForNotificationWithTimeout(kLong));
  const auto ticket = hub.Wait("a", hub.Seen("a"), kLong, [&] { asked.Notify(); });
  hub.WakeNow(ticket);
  hub.WakeNow(ticket);
  EXPECT_TRUE(asked.WaitForNotificationWithTimeout(kLong));
  hub.Wait("a", hub.Seen("a"), absl::InfiniteDuration(), [&] { stopped.Notify(); });
  hub.Stop();
  EXPECT_TRUE(stopped.WaitForNotificationWithTimeout(kLong));
  hub.Wait("a", hub.Seen("a"), absl::InfiniteDuration(), [&] { after.Notify(); });
  EXPECT_TRUE(after.WaitForNotificationWithTimeout(kLong));
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
