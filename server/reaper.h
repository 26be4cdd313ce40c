// Looks at the clock so that nothing waits for ever: ends leases that have expired, fails jobs that
// waited too long, forgets workers that are gone.
#pragma once

#include <functional>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "server/lifecycle.h"
#include "server/limits.h"
#include "server/store/store.h"

namespace quantd {

// Thread-safe.
class Reaper {
 public:
  // `committed` is called after each transaction that changed something. All must outlive the
  // reaper.
  Reaper(Store& store, const Clock& clock, const Limits& limits,
         std::function<void(const AfterCommit&)> committed);
  ~Reaper();
  Reaper(const Reaper&) = delete;
  Reaper& operator=(const Reaper&) = delete;

  // Once: leases that were given before the server started get a full lease time from now, since
  // their workers had nobody to call.
  absl::Status ExtendLeases();
  // One look.
  absl::Status Tick();

  // Ticks each `period` on a thread of its own, until Stop.
  void Start(absl::Duration period);
  void Stop();

 private:
  void Loop(absl::Duration period);

  Store& store_;
  const Clock& clock_;
  const Limits& limits_;
  std::function<void(const AfterCommit&)> committed_;
  absl::Mutex mutex_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace quantd
