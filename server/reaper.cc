#include "server/reaper.h"

#include <utility>
#include <vector>

#include "base/error.h"
#include "base/exceptions.h"
#include "base/log.h"
#include "server/blob_sweep.h"
#include "server/contents.h"

namespace quantd {
namespace {

constexpr int kPerTick = 100;
// Long enough that `ListWorkers` shows a worker that was lost over night.
constexpr absl::Duration kForgetWorkersAfter = absl::Hours(24);

}  // namespace

Reaper::Reaper(Store& store, BlobStore& blobs, Staging& staging, const Clock& clock,
               const Limits& limits, ReaperOptions options,
               std::function<void(const AfterCommit&)> committed)
    : store_(store),
      blobs_(blobs),
      staging_(staging),
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
      QD_ASSIGN_OR_RETURN(const Job job, store.GetJob(lease.job_id));
      QD_RETURN_IF_ERROR(NoteProgress(store, job, lease, limits_, clock_.Now()));
      QD_RETURN_IF_ERROR(store.PutLease(lease));
    }
    return store.ForgetWorkers(clock_.Now() - kForgetWorkersAfter);
  });
}

// `list` finds what may be due, outside of any transaction that writes; `act` looks again at each.
template <typename List, typename Act>
absl::Status Reaper::ForEachDue(const List& list, const Act& act) {
  QD_ASSIGN_OR_RETURN(const auto found, ReadResult(store_, list));
  for (const auto& due : found) {
    const auto one = [&](StoreTransaction& store) -> absl::StatusOr<AfterCommit> {
      AfterCommit after;
      QD_RETURN_IF_ERROR(act(store, due, after));
      return after;
    };
    QD_ASSIGN_OR_RETURN(const AfterCommit after, WriteResult(store_, one));
    committed_(after);
  }
  return absl::OkStatus();
}

absl::Status Reaper::Tick() {
  const absl::Time now = clock_.Now();
  QD_RETURN_IF_ERROR(EndLeases(now));
  QD_RETURN_IF_ERROR(
      ForEachDue([&](StoreReader& store) { return store.OverdueTasks(now, kPerTick); },
                 [&](StoreTransaction& store, const Task& task, AfterCommit& after) {
                   return FailOverdue(store, task, now, after);
                 }));
  QD_RETURN_IF_ERROR(ForEachDue([&](StoreReader& store) { return store.DueTasks(now, kPerTick); },
                                [&](StoreTransaction& store, const Task& task, AfterCommit& after) {
                                  return WakeDelayed(store, task, now, after);
                                }));
  QD_RETURN_IF_ERROR(ForEachDue(
      [&](StoreReader& store) { return store.JobsEndedBy(now - limits_.retention, kPerTick); },
      [&](StoreTransaction& store, const std::string& id, AfterCommit& after) {
        spdlog::info("job {} ended longer ago than jobs are kept: removed", id);
        return RemoveJob(store, id, after);
      }));
  QD_RETURN_IF_ERROR(
      DropStaleUploads(store_, blobs_, staging_, now - limits_.upload_expiry, kPerTick));
  SweepIfDue(now);
  return absl::OkStatus();
}

absl::Status Reaper::EndLeases(absl::Time now) {
  QD_RETURN_IF_ERROR(ForEachDue(
      [&](StoreReader& store) { return store.ExpiredLeases(now, kPerTick); },
      [&](StoreTransaction& store, const Lease& seen, AfterCommit& after) -> absl::Status {
        QD_ASSIGN_OR_RETURN(const std::optional<Lease> lease, store.FindLease(seen.task_id));
        // The worker may have called since it was listed.
        if (!lease.has_value() || !HasExpired(*lease, now)) return absl::OkStatus();
        spdlog::warn("lease of {} on {} has expired (token {})", lease->task_id, lease->worker,
                     lease->fencing_token);
        return EndAttempt(store, *lease, AttemptEnd::kLeaseLost, std::nullopt, limits_, now, after)
            .status();
      }));
  return ForEachDue(
      [&](StoreReader& store) { return store.StuckLeases(now, kPerTick); },
      [&](StoreTransaction& store, const Lease& seen, AfterCommit& after) -> absl::Status {
        QD_ASSIGN_OR_RETURN(const std::optional<Lease> lease, store.FindLease(seen.task_id));
        if (!lease.has_value() || lease->stuck_time > now) return absl::OkStatus();
        QD_ASSIGN_OR_RETURN(const Job job, store.GetJob(lease->job_id));
        QD_ASSIGN_OR_RETURN(const std::optional<Task> task, store.FindTask(lease->task_id));
        if (!task.has_value()) return MakeError(Reason::kInternal, "a lease without its task");
        spdlog::warn("{} on {} is stuck or runs too long (token {}): it is given on",
                     lease->task_id, lease->worker, lease->fencing_token);
        // The worker learns of it from its next call.
        after.topics.push_back(ControlTopicOf(lease->task_id));
        return EndAttempt(store, *lease, StuckOrOverran(*task, job.start_time.value_or(now), now),
                          std::nullopt, limits_, now, after)
            .status();
      });
}

void Reaper::SweepIfDue(absl::Time now) {
  if (now < next_sweep_) return;
  next_sweep_ = now + options_.sweep_period;
  absl::Status status = SweepBlobs(store_, blobs_);
  status.Update(SweepContents(store_, blobs_));
  if (!status.ok()) {
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
