#include "server/reaper.h"

#include <utility>
#include <vector>

#include "base/error.h"
#include "base/exceptions.h"
#include "base/log.h"
#include "server/blob_sweep.h"

namespace quantd {
namespace {

constexpr int kPerTick = 100;
// Long enough that `ListWorkers` shows a worker that was lost over night.
constexpr absl::Duration kForgetWorkersAfter = absl::Hours(24);

}  // namespace

Reaper::Reaper(Store& store, BlobStore& blobs, const Clock& clock, const Limits& limits,
               ReaperOptions options, std::function<void(const AfterCommit&)> committed)
    : store_(store),
      blobs_(blobs),
      clock_(clock),
      limits_(limits),
      options_(options),
      committed_(std::move(committed)),
      next_sweep_(clock.Now() + options.sweep_period) {}

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
  QD_ASSIGN_OR_RETURN(const auto expired, ReadResult(store_, [&](StoreReader& store) {
                        return store.ExpiredLeases(now, kPerTick);
                      }));
  QD_ASSIGN_OR_RETURN(const auto overdue, ReadResult(store_, [&](StoreReader& store) {
                        return store.OverdueTasks(now, kPerTick);
                      }));
  for (const Lease& seen : expired) {
    const auto end = [&](StoreTransaction& store) -> absl::StatusOr<AfterCommit> {
      AfterCommit after;
      QD_ASSIGN_OR_RETURN(const std::optional<Lease> lease, store.FindLease(seen.task_id));
      // The worker may have called since it was listed.
      if (!lease.has_value() || !HasExpired(*lease, now)) return after;
      spdlog::warn("lease of {} on {} has expired (token {})", lease->task_id, lease->worker,
                   lease->fencing_token);
      QD_RETURN_IF_ERROR(
          EndAttempt(store, *lease, AttemptEnd::kLeaseLost, std::nullopt, limits_, now, after)
              .status());
      return after;
    };
    QD_ASSIGN_OR_RETURN(const AfterCommit after, WriteResult(store_, end));
    committed_(after);
  }
  for (const Task& task : overdue) {
    const auto fail = [&](StoreTransaction& store) -> absl::StatusOr<AfterCommit> {
      AfterCommit after;
      QD_RETURN_IF_ERROR(FailOverdue(store, task, now, after));
      return after;
    };
    QD_ASSIGN_OR_RETURN(const AfterCommit after, WriteResult(store_, fail));
    committed_(after);
  }
  SweepIfDue(now);
  return absl::OkStatus();
}

void Reaper::SweepIfDue(absl::Time now) {
  if (now < next_sweep_) return;
  next_sweep_ = now + options_.sweep_period;
  if (const absl::Status status = SweepBlobs(store_, blobs_); !status.ok()) {
    spdlog::error("sweep of blobs: {}", std::string(status.message()));
  }
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
    const absl::Status status = CatchExceptions("the reaper", [this] { return Tick(); });
    if (!status.ok()) {
      spdlog::error("reaper: {}", std::string(status.message()));
    }
  }
}

}  // namespace quantd
