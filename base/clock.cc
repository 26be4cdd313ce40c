#include "base/clock.h"

#include "absl/time/clock.h"

namespace quantd {
namespace {

class SystemClock : public Clock {
 public:
  absl::Time Now() const override { return absl::Now(); }
};

}  // namespace

Clock& Clock::System() {
  static auto* const clock = new SystemClock();
  return *clock;
}

}  // namespace quantd
