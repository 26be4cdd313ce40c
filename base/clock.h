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
  void Advance(absl::Duration duration) {
    absl::MutexLock lock(&mutex_);
    now_ += duration;
  }

 private:
  mutable absl::Mutex mutex_;
  absl::Time now_;
};

}  // namespace quantd
