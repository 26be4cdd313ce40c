// Time, injected: code that waits or stamps takes a Clock, and tests turn a ManualClock.
#pragma once

#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace quantd {

// Thread-safe.
class Clock {
 public:
  virtual ~Clock() = default;
  // Wall-clock time: what is shown to people and stored.
  virtual absl::Time Now() const = 0;
  // Waits, with `mutex` held as absl::Mutex::Await has it, until `condition` is true or this clock
  // shows `deadline`. Whether the condition is true.
  virtual bool Await(absl::Mutex& mutex, const absl::Condition& condition,
                     absl::Time deadline) const ABSL_SHARED_LOCKS_REQUIRED(mutex) = 0;

  // The clock of the machine; never destroyed.
  static Clock& System();
};

// Stands still until it is told to move. Thread-safe.
class ManualClock : public Clock {
 public:
  explicit ManualClock(absl::Time start) : now_(start) {}
  absl::Time Now() const override {
    absl::MutexLock lock(&mutex_);
    return now_;
  }
  bool Await(absl::Mutex& mutex, const absl::Condition& condition,
             absl::Time deadline) const override ABSL_SHARED_LOCKS_REQUIRED(mutex);
  void Advance(absl::Duration duration) {
    absl::MutexLock lock(&mutex_);
    now_ += duration;
  }

 private:
  mutable absl::Mutex mutex_;
  absl::Time now_;
};

}  // namespace quantd
