// Worker processes on the server's own machine: started, watched, started again when they die,
// stopped with the server.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "base/clock.h"

namespace quantd {

struct LocalWorkerOptions {
  int count = 1;
  std::string name =
      "local";               // of worker 1: "local-1"; servers of one store need names of their own
  std::string program = {};  // path of quantd-worker; empty: beside the running program
  std::string server = {};   // host:port to connect to
  std::string token_file = {};  // what they say to be let in; empty: nothing
  std::string scratch = {};     // folder; each worker gets one below it
  std::string log_format = "text";
  std::string log_level = "info";
  absl::Duration first_back_off = absl::Milliseconds(500);
  absl::Duration longest_back_off = absl::Seconds(30);
};

// Thread-safe.
class LocalWorkers {
 public:
  // Starts them, named NAME-1, NAME-2, … UNAVAILABLE if the program is not there. `clock` must
  // outlive them.
  static absl::StatusOr<std::unique_ptr<LocalWorkers>> Start(LocalWorkerOptions options,
                                                             const Clock& clock = Clock::System());
  // Kills what Stop has not stopped.
  ~LocalWorkers();
  LocalWorkers(const LocalWorkers&) = delete;
  LocalWorkers& operator=(const LocalWorkers&) = delete;

  // SIGTERM to all, SIGKILL to those that are there after `grace`. Returns when all are gone.
  void Stop(absl::Duration grace);

  // Process ids of those that run now.
  std::vector<pid_t> pids() const;

 private:
  LocalWorkers(LocalWorkerOptions options, const Clock& clock)
      : options_(std::move(options)), clock_(clock) {}
  void Supervise(int index);
  // Starts worker `index` unless everything is stopping; -1 if that failed.
  pid_t Spawn(int index);

  const LocalWorkerOptions options_;
  const Clock& clock_;
  mutable absl::Mutex mutex_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<pid_t> pids_ ABSL_GUARDED_BY(mutex_);  // 0: not running
  std::vector<std::thread> threads_;
};

}  // namespace quantd
