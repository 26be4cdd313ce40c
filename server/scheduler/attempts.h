// What becomes of a job when an attempt at it has ended, and when an attempt has gone on for too
// long. Pure functions, as those of rules.h.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/time/time.h"
#include "server/job.h"
#include "server/limits.h"

namespace quantd {

// How an attempt ended.
enum class AttemptEnd {
  kSucceeded,   // with a result that reached the gate, or had none
  kGateMissed,  // with a result that did not
  kFailed,      // the worker says why
  kStopped,     // the worker stopped because it was asked to
  kReturned,    // handed back unfinished: the worker is leaving
  kLeaseLost,   // the worker fell silent or was replaced
  kStuck,       // the worker is there, and nothing has come of it for too long
  kOverran,     // it is at work long after max_run_time, when it should have stopped by itself
};

struct Attempt {
  AttemptEnd end = AttemptEnd::kFailed;
  std::optional<Failure> failure = {};  // the worker's, for kFailed and kGateMissed
  int64_t sealed_parts = 0;             // in the checkpoint when it ended
  int number = 1;
  std::string worker = {};
};

// What becomes of the job.
struct Verdict {
  JobState state = JobState::kPending;
  std::optional<Failure> failure = {};  // for FAILED; for PENDING, why the attempt failed
  bool counts_as_failure = false;       // the task's failures grow by one
  bool keep_files = false;              // the files of this attempt stay; else they are removed
  absl::Duration delay = absl::ZeroDuration();  // for PENDING: until it waits for a worker
  std::optional<Violation> record = {};         // to remember of the attempt, if it failed
};

// `job` is RUNNING or CANCELLING. A failure is tried again if its reason is retryable and it sealed
// something that no attempt before it had, or fewer than max_attempts have failed without that. The
// last one ends in ATTEMPTS_EXHAUSTED, which lists all that are remembered.
Verdict AfterAttempt(JobState job, const Task& task, const Attempt& attempt, const Limits& limits);

// How long a task waits after a failure for `reason`, `failures` of them without progress: doubled
// for each, longer where something outside has to recover, not at all when a worker was lost for
// the first time. Between half and all of that, drawn from the task and its token: those that
// failed together do not come back together, and the same question has the same answer.
absl::Duration RetryDelay(const Task& task, const std::string& reason, int failures,
                          const Limits& limits);

// The longest time between two signs of progress of a run that is estimated to take `estimated` for
// `blocks` blocks: many times that of a block, for estimates err.
absl::Duration StallLimit(absl::Duration estimated, int64_t blocks, const Limits& limits);
// When an attempt that began at `start` counts as stuck if nothing comes of it after `now`. Twice
// the limit after each failure, should it be the limit that is wrong; and never long after
// max_run_time, which a worker keeps by itself.
absl::Time StuckTime(const Task& task, absl::Time start, absl::Time now, const Limits& limits);
// Which of the two it is at that time.
AttemptEnd StuckOrOverran(const Task& task, absl::Time start, absl::Time now);

}  // namespace quantd
