// What a person sees while a job runs: a progress bar on a terminal, a few lines elsewhere.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "client/cli/session.h"
#include "quantd/v1/events.pb.h"
#include "terminal/progress_bar.h"

namespace quantd {

struct DisplayOptions {
  std::string job;
  bool bar = true;      // on a terminal; elsewhere there is none anyway
  bool layers = false;  // one line per linear
};

// Writes to session.err(). Thread-safe.
class Display {
 public:
  Display(Session& session, const DisplayOptions& options);
  ~Display();
  Display(const Display&) = delete;
  Display& operator=(const Display&) = delete;

  void OnEvent(const v1::JobEvent& event);
  // A line that stays.
  void Note(std::string_view line);
  // In place of the stage until the next progress; a note where there is no bar.
  void SetState(std::string_view state);
  // Erases the bar. What comes later is written as plain lines.
  void Finish();

 private:
  void NoteLocked(std::string_view line) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void SetStateLocked(std::string_view state) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void OnState(const v1::StateChange& change) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Lets the time left count down.
  void Tick();

  Session& session_;
  const DisplayOptions options_;
  absl::Mutex mutex_;
  std::optional<ProgressBar> bar_ ABSL_GUARDED_BY(mutex_);
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
  std::string last_state_ ABSL_GUARDED_BY(mutex_);
  std::thread ticker_;
};

}  // namespace quantd
