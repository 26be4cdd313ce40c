// Looks at the clock so that nothing waits for ever: ends leases that have expired or come to
// nothing, fails jobs that waited too long, lets delayed ones wait for a worker, forgets workers
// that are gone, jobs that ended long ago and uploads that nobody finishes, removes blobs that
// nobody will ask for.
#pragma once

#include <functional>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "blob/blob_store.h"
#include "server/lifecycle.h"
#include "server/limits.h"
#include "server/staging.h"
#include "server/store/store.h"

namespace quantd {

struct ReaperOptions {
  absl::Duration sweep_period = absl::Minutes(10);
};

// Thread-safe.
class Reaper {
 public:
  // `committed` is called after each transaction that changed something. All must outlive the
  // reaper.
  Reaper(Store& store, BlobStore& blobs, Staging& staging, const Clock& clock, const Limits& limits,
         ReaperOptions options, std::function<void(const AfterCommit&)> committed);
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
  template <typename List, typename Act>
  absl::Status ForEachDue(const List& list, const Act& act);
  absl::Status EndLeases(absl::Time now);
  void Loop(absl::Duration period);
  void SweepIfDue(absl::Time now);

  Store& store_;
  BlobStore& blobs_;
  Staging& staging_;
  const Clock& clock_;
  const Limits& limits_;
  const ReaperOptions options_;
  std::function<void(const AfterCommit&)> committed_;
  absl::Time next_sweep_;  // of the one thread that ticks
  absl::Mutex mutex_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace quantd
