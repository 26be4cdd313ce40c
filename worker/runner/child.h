// Runs `quantd-worker quantize --request-file … --events-fd …` as a child process: whatever happens
// to it, the worker lives on and knows why.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "engine/types/report.h"
#include "worker/runner/events.h"

namespace quantd {

// 0 and infinite: no limit.
struct ChildLimits {
  int64_t data_bytes = 0;  // RLIMIT_DATA; see DataLimitFor
  int64_t file_bytes = 0;  // largest file it may write
  absl::Duration run_time = absl::InfiniteDuration();
  absl::Duration cancel_grace = absl::Seconds(10);  // from SIGTERM to SIGKILL
};

struct ChildOptions {
  std::string program;  // absolute path
  std::vector<std::string>
      arguments;       // after the program's name; kEventsDescriptor is open for writing
  std::string folder;  // its working folder and TMPDIR
  ChildLimits limits;
};

// A running child and the thread that watches it. Thread-safe.
class Child {
 public:
  // The descriptor on which the child writes its events.
  static constexpr int kEventsDescriptor = 3;

  // Starts it. It runs in its own process group, with a minimal environment, no open files but its
  // own, no core dumps, and dies with this process. `wake` is called, from another thread, after
  // each event and at the end; it must not call the child. Errors: only of making pipes; that the
  // program cannot be run is told by Outcome.
  static absl::StatusOr<std::unique_ptr<Child>> Start(ChildOptions options,
                                                      std::function<void()> wake);
  // The child that runs this very program.
  static std::string OwnProgram();

  // Kills what still runs, and waits for its end.
  ~Child();
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  // What it has told since the last call, in order, without results and errors: those are its
  // outcome. Progress that newer progress follows at once is left out.
  std::vector<RunnerEvent> TakeEvents();

  // Asks it to stop: SIGTERM, and SIGKILL after the grace time. Does not wait.
  void Cancel();
  // SIGKILL at once. Does not wait.
  void Kill();

  // Whether it has ended and every event can be taken.
  bool finished() const;
  // Waits for the end. The report, or why there is none: the error that the child sent; CANCELLED
  // after Cancel or Kill; RUNNER_TIME_LIMIT; RUNNER_MEMORY_LIMIT if an allocation failed or the
  // kernel ended it for lack of memory; RUNNER_CRASHED with the signal or exit code and the last of
  // what it wrote to stderr; INTERNAL if its events were garbage.
  absl::StatusOr<Report> Outcome();

 private:
  struct Supervisor;
  explicit Child(std::unique_ptr<Supervisor> supervisor);
  std::unique_ptr<Supervisor> supervisor_;
};

}  // namespace quantd
