#include "server/reaper.h"

#include <utility>
#include <vector>

#include "base/error.h"
#include "base/log.h"

namespace quantd {
namespace {

constexpr int kPerTick = 100;
// Long enough that `ListWorkers` shows a worker that was lost over night.
constexpr absl::Duration kForgetWorkersAfter = absl::Hours(24);

}  // namespace

Reaper::Reaper(Store& store, const Clock& clock, const Limits& limits,
               std::function<void(const AfterCommit&)> committed)
    : store_(store), clock_(clock), limits_(limits), committed_(std::move(committed)) {}

Reaper::~Reaper() { Stop(); }

absl::Status Reaper::ExtendLeases() {
  return store_.Write([&](StoreTransaction& store) -> absl::Status {
    QD_ASSIGN_OR_RETURN(std::vector<Lease> leases, store.AllLeases());
    for (Lease& lease : leases) {
      lease.expire_time = std::max(lease.expire_time, clock_.Now() + limits_.lease);
      QD_RETURN_IF_ERROR(store.PutLease(lease));
    }
    return store.ForgetWorkers(clock_.Now() - kForgetWorkersAfter);
  });
}

absl::Status Reaper::Tick() {
  const absl::Time now = clock_.Now();
  std::vector<Lease> expired;
  std::vector<Task> overdue;
  QD_RETURN_IF_ERROR(store_.Read([&](StoreReader& store) -> absl::Status {
    QD_ASSIGN_OR_RETURN(expired, store.ExpiredLeases(now, kPerTick));
    QD_ASSIGN_OR_RETURN(overdue, store.OverdueTasks(now, kPerTick));
    return absl::OkStatus();
  }));
  for (const Lease& seen : expired) {
    AfterCommit after;
    QD_RETURN_IF_ERROR(store_.Write([&](StoreTransaction& store) -> absl::Status {
      after = {};
      QD_ASSIGN_OR_RETURN(const std::optional<Lease> lease, store.FindLease(seen.task_id));
      // The worker may have called since it was listed.
      if (!lease.has_value() || !HasExpired(*lease, now)) return absl::OkStatus();
      spdlog::warn("lease of {} on {} has expired (token {})", lease->task_id, lease->worker,
                   lease->fencing_token);
      return EndAttempt(store, *lease, AttemptEnd::kLeaseLost, std::nullopt, limits_, now, after)
          .status();
    }));
    committed_(after);
  }
  for (const Task& task : overdue) {
    AfterCommit after;
    QD_RETURN_IF_ERROR(store_.Write([&](StoreTransaction& store) -> absl::Status {
      after = {};
      return FailOverdue(store, task, now, after);
    }));
    committed_(after);
  }
  return absl::OkStatus();
}

void Reaper::Start(absl::Duration period) {
  thread_ = std::thread([this, period] { Loop(period); });
}

void Reaper::Stop() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  if (thread_.joinable()) thread_.join();
}

void Reaper::Loop(absl::Duration period) {
  while (true) {
    {
      absl::MutexLock lock(&mutex_);
      if (mutex_.AwaitWithTimeout(absl::Condition(&stopping_), period)) return;
    }
    if (const absl::Status status = Tick(); !status.ok()) {
      spdlog::error("reaper: {}", std::string(status.message()));
    }
  }
}

}  // namespace quantd
