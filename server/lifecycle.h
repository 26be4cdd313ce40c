// What happens to a job, applied to the store: each function is one step within the caller's
// transaction, writes the event of its state change, and follows the rules of server/scheduler.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/job.h"
#include "server/limits.h"
#include "server/scheduler/attempts.h"
#include "server/scheduler/rules.h"
#include "server/store/store.h"

namespace quantd {

// Topic of the hub for everything that happens to one job, and for tasks that wait for a worker.
std::string TopicOf(std::string_view job_id);
inline constexpr std::string_view kWorkTopic = "work";
// For what the worker of a running task must be told.
std::string ControlTopicOf(std::string_view task_id);

// What to do once the transaction is committed.
struct AfterCommit {
  std::vector<std::string> topics;         // to announce
  std::vector<std::string> blob_prefixes;  // to delete
};

// Blob prefix of everything of a job, and of one lease of it; both without a final '/'.
std::string BlobPrefix(std::string_view job_id);
std::string BlobPrefix(std::string_view job_id, int64_t fencing_token);
// Of what attempts have done so far, of the whole job and of one task: it outlives an attempt and
// goes with the job's end.
std::string CheckpointPrefix(std::string_view job_id);
std::string CheckpointPrefix(std::string_view job_id, std::string_view task_id);

// A new job with its one task, its webhooks and its first event.
absl::Status AddJob(StoreTransaction& store, Job& job, const JobDetail& detail, Task& task,
                    const std::vector<Webhook>& webhooks, AfterCommit& after);

// Adds webhooks to a job that there is already; those that it has are left out. One that wants to
// hear of the state that a final job is in hears of it now. INVALID_FIELD when there would be more
// than limits.job_webhooks.
absl::Status AddWebhooks(StoreTransaction& store, const Job& job,
                         const std::vector<Webhook>& webhooks, const Limits& limits,
                         absl::Time now);

// The task that the worker gets next, by the rule of fair_share.h.
absl::StatusOr<std::optional<Task>> NextTask(StoreReader& store, const Worker& worker,
                                             const Limits& limits);

// Gives a pending task to the worker: a lease with the next fencing token.
absl::StatusOr<Lease> GiveLease(StoreTransaction& store, Task& task, const Worker& worker,
                                const Limits& limits, absl::Time now, AfterCommit& after);

// Ends the attempt of a lease: applies the scheduler's verdict to task and job and removes the
// lease. A task that is tried again may have to wait for its time first (WakeDelayed). Returns the
// state that the job is in.
absl::StatusOr<JobState> EndAttempt(StoreTransaction& store, const Lease& lease, AttemptEnd end,
                                    const std::optional<Failure>& failure, const Limits& limits,
                                    absl::Time now, AfterCommit& after);

// Asks for the end of a job. WRONG_STATE when it is final and not CANCELLED. Returns the job as it
// is then.
absl::StatusOr<Job> CancelJob(StoreTransaction& store, std::string_view job_id, absl::Time now,
                              AfterCommit& after);

// Notes that something has come of the lease's attempt: the time when it counts as stuck moves.
absl::Status NoteProgress(StoreTransaction& store, const Job& job, Lease& lease,
                          const Limits& limits, absl::Time now);

// Lets a delayed task whose time has come wait for a worker.
absl::Status WakeDelayed(StoreTransaction& store, const Task& task, absl::Time now,
                         AfterCommit& after);

// Removes a job that has ended, with all that is kept of it.
absl::Status RemoveJob(StoreTransaction& store, std::string_view job_id, AfterCommit& after);

// Fails a pending job that waited too long.
absl::Status FailOverdue(StoreTransaction& store, const Task& task, absl::Time now,
                         AfterCommit& after);

}  // namespace quantd
