#include "server/event_hub.h"

#include <utility>

namespace quantd {

EventHub::EventHub(Executor& executor, const Clock& clock) : executor_(executor), clock_(clock) {
  deadline_thread_ = std::thread([this] { WatchDeadlines(); });
}

EventHub::~EventHub() {
  Stop();
  deadline_thread_.join();
}

size_t EventHub::CounterOf(std::string_view topic) {
  return std::hash<std::string_view>{}(topic) % kCounters;
}

uint64_t EventHub::Seen(std::string_view topic) const {
  absl::MutexLock lock(&mutex_);
  return counters_[CounterOf(topic)];
}

void EventHub::Announce(std::string_view topic) {
  absl::MutexLock lock(&mutex_);
  ++counters_[CounterOf(topic)];
  const auto [begin, end] = by_topic_.equal_range(std::string(topic));
  std::vector<Ticket> woken;
  for (auto it = begin; it != end; ++it) woken.push_back(it->second);
  for (const Ticket ticket : woken) Release(ticket);
}

void EventHub::AnnounceAll() {
  absl::MutexLock lock(&mutex_);
  for (uint64_t& counter : counters_) ++counter;
  ReleaseAll();
}

EventHub::Ticket EventHub::Wait(const std::string& topic, uint64_t seen, absl::Duration timeout,
                                std::function<void()> wake) {
  absl::MutexLock lock(&mutex_);
  const Ticket ticket = next_ticket_++;
  if (stopped_ || counters_[CounterOf(topic)] != seen) {
    executor_.Run(std::move(wake));
    return ticket;
  }
  const absl::Time deadline = clock_.Now() + timeout;
  by_topic_.emplace(topic, ticket);
  if (deadline != absl::InfiniteFuture()) {
    const auto added = by_deadline_.emplace(deadline, ticket);
    if (added == by_deadline_.begin()) deadlines_changed_ = true;
  }
  waiters_.emplace(ticket, Waiter{.topic = topic, .deadline = deadline, .wake = std::move(wake)});
  return ticket;
}

void EventHub::WakeNow(Ticket ticket) {
  absl::MutexLock lock(&mutex_);
  Release(ticket);
}

void EventHub::Stop() {
  absl::MutexLock lock(&mutex_);
  stopped_ = true;
  ReleaseAll();
  deadlines_changed_ = true;
}

void EventHub::ReleaseAll() {
  std::vector<Ticket> all;
  for (const auto& [ticket, waiter] : waiters_) all.push_back(ticket);
  for (const Ticket ticket : all) Release(ticket);
}

bool EventHub::stopped() const {
  absl::MutexLock lock(&mutex_);
  return stopped_;
}

void EventHub::Release(Ticket ticket) {
  const auto found = waiters_.find(ticket);
  if (found == waiters_.end()) return;
  Waiter waiter = std::move(found->second);
  waiters_.erase(found);
  const auto [begin, end] = by_topic_.equal_range(waiter.topic);
  for (auto it = begin; it != end; ++it) {
    if (it->second == ticket) {
      by_topic_.erase(it);
      break;
    }
  }
  const auto [first, last] = by_deadline_.equal_range(waiter.deadline);
  for (auto it = first; it != last; ++it) {
    if (it->second == ticket) {
      by_deadline_.erase(it);
      break;
    }
  }
  executor_.Run(std::move(waiter.wake));
}

void EventHub::WatchDeadlines() {
  absl::MutexLock lock(&mutex_);
  while (!stopped_) {
    const absl::Time now = clock_.Now();
    while (!by_deadline_.empty() && by_deadline_.begin()->first <= now) {
      Release(by_deadline_.begin()->second);
    }
    const absl::Time next =
        by_deadline_.empty() ? absl::InfiniteFuture() : by_deadline_.begin()->first;
    deadlines_changed_ = false;
    clock_.Await(mutex_, absl::Condition(&deadlines_changed_), next);
  }
}

}  // namespace quantd
