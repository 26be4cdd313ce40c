// A few threads for the work that must not be done in gRPC's own: the store, planning, reading
// files.
#pragma once

#include <deque>
#include <functional>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace quantd {

// Thread-safe.
class Executor {
 public:
  // `threads` >= 1.
  explicit Executor(int threads);
  // Stops as Stop does.
  ~Executor();
  Executor(const Executor&) = delete;
  Executor& operator=(const Executor&) = delete;

  // Runs `work` soon, in the order of calls as threads become free. Never blocks. What `work`
  // throws is logged and otherwise ignored.
  void Run(std::function<void()> work);
  // Waits until everything that was given has run, what that gives in turn included, then ends the
  // threads.
  void Stop();
  // Pieces of work that wait for a thread.
  size_t waiting() const;

 private:
  void Loop();

  mutable absl::Mutex mutex_;
  std::deque<std::function<void()>> queue_ ABSL_GUARDED_BY(mutex_);
  int running_ ABSL_GUARDED_BY(mutex_) = 0;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;
};

}  // namespace quantd
