#include "server/scheduler/rules.h"

#include <algorithm>
#include <array>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/error.h"

namespace quantd {
namespace {

struct Change {
  JobState from, to;
};

constexpr std::array kChanges = {
    Change{JobState::kPending, JobState::kRunning},
    Change{JobState::kPending, JobState::kFailed},
    Change{JobState::kPending, JobState::kCancelled},
    Change{JobState::kRunning, JobState::kPending},
    Change{JobState::kRunning, JobState::kCancelling},
    Change{JobState::kRunning, JobState::kSucceeded},
    Change{JobState::kRunning, JobState::kFailed},
    Change{JobState::kCancelling, JobState::kCancelled},
};

}  // namespace

bool IsFinal(JobState state) {
  return state == JobState::kSucceeded || state == JobState::kFailed ||
         state == JobState::kCancelled;
}

bool MayChange(JobState from, JobState to) {
  return std::any_of(kChanges.begin(), kChanges.end(),
                     [&](const Change& change) { return change.from == from && change.to == to; });
}

bool Fits(const Task& task, const Worker& worker) {
  if (worker.draining || worker.drain_asked) return false;
  const bool has_backend = task.backend == "any"
                               ? !worker.backends.empty()
                               : std::find(worker.backends.begin(), worker.backends.end(),
                                           task.backend) != worker.backends.end();
  return has_backend && task.memory_bytes <= worker.free_memory_bytes;
}

std::vector<std::string> BackendsFor(const Worker& worker) {
  if (worker.draining || worker.drain_asked || worker.backends.empty()) return {};
  std::vector<std::string> backends = {"any"};
  for (const std::string& name : worker.backends) {
    if (std::find(backends.begin(), backends.end(), name) == backends.end()) {
      backends.push_back(name);
    }
  }
  return backends;
}

CancelAction OnCancel(JobState state) {
  switch (state) {
    case JobState::kPending:
      return CancelAction::kCancelNow;
    case JobState::kRunning:
      return CancelAction::kAskWorker;
    case JobState::kCancelling:
    case JobState::kCancelled:
      return CancelAction::kNothing;
    case JobState::kSucceeded:
    case JobState::kFailed:
      return CancelAction::kRefuse;
  }
  return CancelAction::kRefuse;
}

bool HasExpired(const Lease& lease, absl::Time now) { return lease.expire_time <= now; }

absl::Time RenewedUntil(absl::Time now, const Limits& limits) {
  return now + limits.lease + limits.lease / 2;
}

bool MustRenew(const Lease& lease, absl::Time now, const Limits& limits) {
  return !lease.reported || lease.expire_time - now < limits.lease;
}

absl::Duration HeartbeatInterval(const Limits& limits) { return limits.lease / 3; }

bool WaitedTooLong(const Task& task, absl::Time now) {
  return task.state == TaskState::kPending && task.max_queue_time.has_value() &&
         now - task.queued_time >= *task.max_queue_time;
}

absl::Status CheckRoom(const QueueCounts& counts, const Limits& limits) {
  if (counts.pending >= limits.queue_length) {
    return MakeError(Reason::kQueueFull, "the queue is full",
                     Violation{.where = "",
                               .got = absl::StrCat(counts.pending, " jobs waiting"),
                               .wanted = absl::StrCat("fewer than ", limits.queue_length)});
  }
  if (counts.pending_of_tenant >= limits.tenant_queue) {
    return MakeError(Reason::kQueueFull, "the tenant has too many jobs waiting",
                     Violation{.where = "",
                               .got = absl::StrCat(counts.pending_of_tenant, " jobs waiting"),
                               .wanted = absl::StrCat("fewer than ", limits.tenant_queue)});
  }
  if (counts.open >= limits.open_jobs) {
    return MakeError(Reason::kQuotaExceeded, "too many open jobs",
                     Violation{.where = "",
                               .got = absl::StrCat(counts.open, " open jobs"),
                               .wanted = absl::StrCat("fewer than ", limits.open_jobs)});
  }
  return absl::OkStatus();
}

}  // namespace quantd
