#include "base/clock.h"

#include "absl/time/clock.h"

namespace quantd {
namespace {

class SystemClock : public Clock {
 public:
  absl::Time Now() const override { return absl::Now(); }
  bool Await(absl::Mutex& mutex, const absl::Condition& condition,
             absl::Time deadline) const override ABSL_SHARED_LOCKS_REQUIRED(mutex) {
    return mutex.AwaitWithDeadline(condition, deadline);
  }
};

// Of the machine's time: how long after Advance a waiter may notice it.
constexpr absl::Duration kLook = absl::Milliseconds(1);

}  // namespace

Clock& Clock::System() {
  static auto* const clock = new SystemClock();
  return *clock;
}

bool ManualClock::Await(absl::Mutex& mutex, const absl::Condition& condition,
                        absl::Time deadline) const {
  while (true) {
    if (mutex.AwaitWithTimeout(condition, kLook)) return true;
    if (Now() >= deadline) return condition.Eval();
  }
}

}  // namespace quantd
