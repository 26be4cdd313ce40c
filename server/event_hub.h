// Wakes those who wait for something to change: watchers of a job, workers that wait for work. It
// carries no data: who is woken looks into the store, which is the truth.
//
//   const auto seen = hub.Seen(topic);      // before looking
//   ... look into the store: nothing new ...
//   hub.Wait(topic, seen, timeout, wake);   // wakes at once if something was announced in between
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <thread>
#include <unordered_map>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "server/executor.h"

namespace quantd {

// Thread-safe.
class EventHub {
 public:
  using Ticket = uint64_t;

  // Wakes run on `executor`; deadlines are the clock's. Both must outlive the hub.
  explicit EventHub(Executor& executor, const Clock& clock = Clock::System());
  // Every waiter must have been woken: call Stop before.
  ~EventHub();
  EventHub(const EventHub&) = delete;
  EventHub& operator=(const EventHub&) = delete;

  // How much has been announced on the topic so far. (Topics may share a counter: then a wake comes
  // for nothing.)
  uint64_t Seen(std::string_view topic) const;
  // Something changed: call it after the commit.
  void Announce(std::string_view topic);
  // Anything may have changed, as when what was announced elsewhere was not heard.
  void AnnounceAll();

  // Runs `wake` exactly once, on the executor: when something is announced on the topic after
  // `seen`, when the timeout is over (infinite: never), by WakeNow, or by Stop.
  Ticket Wait(const std::string& topic, uint64_t seen, absl::Duration timeout,
              std::function<void()> wake);
  // Wakes this waiter now; nothing if it has been woken.
  void WakeNow(Ticket ticket);
  // Wakes everybody; who waits from now on is woken at once.
  void Stop();
  bool stopped() const;

 private:
  struct Waiter {
    std::string topic;
    absl::Time deadline;
    std::function<void()> wake;
  };
  static constexpr size_t kCounters = 1024;
  static size_t CounterOf(std::string_view topic);

  void Release(Ticket ticket) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void ReleaseAll() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void WatchDeadlines();

  Executor& executor_;
  const Clock& clock_;
  mutable absl::Mutex mutex_;
  std::array<uint64_t, kCounters> counters_ ABSL_GUARDED_BY(mutex_) = {};
  std::unordered_map<Ticket, Waiter> waiters_ ABSL_GUARDED_BY(mutex_);
  std::unordered_multimap<std::string, Ticket> by_topic_ ABSL_GUARDED_BY(mutex_);
  std::multimap<absl::Time, Ticket> by_deadline_ ABSL_GUARDED_BY(mutex_);
  Ticket next_ticket_ ABSL_GUARDED_BY(mutex_) = 1;
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
  bool deadlines_changed_ ABSL_GUARDED_BY(mutex_) = false;  // there is an earlier one, or Stop
  std::thread deadline_thread_;
};

}  // namespace quantd
