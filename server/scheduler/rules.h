// The rules of the queue as pure functions: no store, no clock, no network. Here: who may become
// what, which task a worker could run, what cancel means, when a lease ends, when the queue is
// full. What a failed attempt leads to is in attempts.h, whose task comes first in fair_share.h.
#pragma once

#include <cstdint>
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
  int64_t open = 0;               // not final
  int64_t pending_of_tenant = 0;  // of the one who asks
};
// QUEUE_FULL or QUOTA_EXCEEDED when one more job is too many.
absl::Status CheckRoom(const QueueCounts& counts, const Limits& limits);

}  // namespace quantd
