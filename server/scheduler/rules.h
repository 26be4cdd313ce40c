// The rules of the queue as pure functions: no store, no clock, no network. Who may become what,
// which task a worker gets, what a failed attempt leads to, what cancel means, when the queue is
// full.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/job.h"
#include "server/limits.h"

namespace quantd {

// SUCCEEDED, FAILED and CANCELLED.
bool IsFinal(JobState state);
// Whether a job may go from one state to another:
//   PENDING -> RUNNING, FAILED (queue time), CANCELLED
//   RUNNING -> PENDING (another attempt), CANCELLING, SUCCEEDED, FAILED
//   CANCELLING -> CANCELLED
bool MayChange(JobState from, JobState to);

// Whether the worker could run the task: backend, free memory, not draining.
bool Fits(const Task& task, const Worker& worker);
// What Task.backend may be for the worker to run it: each of its own, and "any" if it has one.
// Empty for a worker that wants no work.
std::vector<std::string> BackendsFor(const Worker& worker);
// Index of the task that the worker gets, out of the pending ones: highest priority, then first
// come, among those that fit. Nothing: none fits.
std::optional<size_t> PickTask(std::span<const Task> pending, const Worker& worker);

// How an attempt ended.
enum class AttemptEnd {
  kSucceeded,   // with a result that reached the gate, or had none
  kGateMissed,  // with a result that did not
  kFailed,      // the worker says why
  kStopped,     // the worker stopped because it was asked to
  kReturned,    // handed back unfinished: the worker is leaving
  kLeaseLost,   // the worker fell silent or was replaced
};

// What becomes of the job.
struct Verdict {
  JobState state = JobState::kPending;
  std::optional<Failure> failure = {};  // for FAILED; for PENDING, why the attempt failed
  bool counts_as_failure = false;       // the task's failures grow by one
  bool keep_files = false;              // the files of this attempt stay; else they are removed
};

// `job` is RUNNING or CANCELLING. `failure` is the worker's, for kFailed; ignored otherwise. A
// failure is tried again if its reason is retryable and fewer than max_attempts attempts have
// failed; the last one ends in ATTEMPTS_EXHAUSTED.
Verdict AfterAttempt(JobState job, const Task& task, AttemptEnd end,
                     const std::optional<Failure>& failure, const Limits& limits);

enum class CancelAction {
  kCancelNow,  // was waiting: becomes CANCELLED
  kAskWorker,  // is running: becomes CANCELLING
  kNothing,    // is being or has been cancelled
  kRefuse,     // is final otherwise
};
CancelAction OnCancel(JobState state);

bool HasExpired(const Lease& lease, absl::Time now);
// Until when a lease is renewed, and whether a heartbeat must do so now. A renewal is a write to
// the disk, and one that counts for half a lease longer spares the next: a worker that calls each
// third of a lease has every second call written, and is still lost only after a whole lease of
// silence.
absl::Time RenewedUntil(absl::Time now, const Limits& limits);
bool MustRenew(const Lease& lease, absl::Time now, const Limits& limits);
// How long the server holds the call of a worker that is at work and has nothing to say.
absl::Duration HeartbeatInterval(const Limits& limits);
// Whether a pending task has waited longer than it may.
bool WaitedTooLong(const Task& task, absl::Time now);

struct QueueCounts {
  int64_t pending = 0;
  int64_t open = 0;  // not final
};
// QUEUE_FULL or QUOTA_EXCEEDED when one more job is too many.
absl::Status CheckRoom(const QueueCounts& counts, const Limits& limits);

}  // namespace quantd
