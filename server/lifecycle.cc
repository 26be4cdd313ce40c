#include "server/lifecycle.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "server/scheduler/fair_share.h"

namespace quantd {
namespace {

// So many failed attempts of a task are remembered.
constexpr size_t kRemembered = 32;

// Puts down that the job's webhook at `place` is to be told of the state that the job is in. Within
// one job, its event and the place tell a delivery from any other.
absl::Status Tell(StoreTransaction& store, const Job& job, const Webhook& webhook, int64_t place,
                  const std::optional<Failure>& failure, absl::Time since, absl::Time now) {
  Delivery delivery{.id = absl::StrCat(job.id, "-", job.last_sequence, "-", place),
                    .job_id = job.id,
                    .webhook = place,
                    .url = webhook.url,
                    .job_state = job.state,
                    .time = since,
                    .job_attempt = job.attempts,
                    .failure = failure,
                    .create_time = now,
                    .next_attempt_time = now};
  return store.InsertDelivery(job, delivery);
}

bool Wants(const Webhook& webhook, JobState state) {
  return std::find(webhook.states.begin(), webhook.states.end(), state) != webhook.states.end();
}

absl::Status TellAll(StoreTransaction& store, const Job& job, const std::optional<Failure>& failure,
                     absl::Time now) {
  QD_ASSIGN_OR_RETURN(const std::vector<Webhook> webhooks, store.ListWebhooks(job));
  for (size_t place = 0; place < webhooks.size(); ++place) {
    if (!Wants(webhooks[place], job.state)) continue;
    QD_RETURN_IF_ERROR(
        Tell(store, job, webhooks[place], static_cast<int64_t>(place), failure, now, now));
  }
  return absl::OkStatus();
}

// Moves the job to `state`, writes the event and what webhooks are to be told.
absl::Status ChangeState(StoreTransaction& store, Job& job, JobState state,
                         const std::optional<Failure>& failure, absl::Time now,
                         AfterCommit& after) {
  if (!MayChange(job.state, state)) {
    return MakeError(
        Reason::kInternal, "a change of state that must not happen",
        Violation{.where = "jobs/" + job.id,
                  .got = absl::StrCat(ToAbsl(NameOf(job.state)), " -> ", ToAbsl(NameOf(state))),
                  .wanted = "a change that the table allows"});
  }
  job.state = state;
  if (IsFinal(state)) {
    job.end_time = now;
    job.failure = failure;
    after.blob_prefixes.push_back(CheckpointPrefix(job.id));
  }
  Event event;
  event.time = now;
  event.attempt = job.attempts;
  event.kind = Event::Kind::kStateChange;
  event.state = state;
  event.worker = state == JobState::kRunning ? job.worker : "";
  event.failure = failure;
  QD_RETURN_IF_ERROR(store.AppendEvent(job, std::move(event)));
  QD_RETURN_IF_ERROR(store.UpdateJob(job));
  QD_RETURN_IF_ERROR(TellAll(store, job, failure, now));
  after.topics.push_back(TopicOf(job.id));
  return absl::OkStatus();
}

void Remember(const Violation& record, Task& task) {
  task.failed_attempts.push_back(record);
  if (task.failed_attempts.size() > kRemembered) {
    task.failed_attempts.erase(task.failed_attempts.begin());
  }
}

}  // namespace

std::string TopicOf(std::string_view job_id) { return absl::StrCat("job/", ToAbsl(job_id)); }

std::string ControlTopicOf(std::string_view task_id) {
  return absl::StrCat("control/", ToAbsl(task_id));
}

std::string BlobPrefix(std::string_view job_id) { return absl::StrCat("jobs/", ToAbsl(job_id)); }

std::string BlobPrefix(std::string_view job_id, int64_t fencing_token) {
  return absl::StrCat("jobs/", ToAbsl(job_id), "/", fencing_token);
}

std::string CheckpointPrefix(std::string_view job_id) {
  return absl::StrCat("jobs/", ToAbsl(job_id), "/checkpoints");
}

std::string CheckpointPrefix(std::string_view job_id, std::string_view task_id) {
  return absl::StrCat(CheckpointPrefix(job_id), "/", ToAbsl(task_id));
}

absl::Status AddJob(StoreTransaction& store, Job& job, const JobDetail& detail, Task& task,
                    const std::vector<Webhook>& webhooks, AfterCommit& after) {
  QD_RETURN_IF_ERROR(store.InsertJob(job, detail));
  QD_RETURN_IF_ERROR(store.InsertTask(task));
  Event event;
  event.time = job.create_time;
  event.kind = Event::Kind::kStateChange;
  event.state = job.state;
  QD_RETURN_IF_ERROR(store.AppendEvent(job, std::move(event)));
  for (const Webhook& webhook : webhooks) QD_RETURN_IF_ERROR(store.AddWebhook(job, webhook));
  QD_RETURN_IF_ERROR(TellAll(store, job, std::nullopt, job.create_time));
  after.topics.emplace_back(kWorkTopic);
  return absl::OkStatus();
}

absl::Status AddWebhooks(StoreTransaction& store, const Job& job,
                         const std::vector<Webhook>& webhooks, const Limits& limits,
                         absl::Time now) {
  QD_ASSIGN_OR_RETURN(std::vector<Webhook> known, store.ListWebhooks(job));
  for (const Webhook& webhook : webhooks) {
    if (std::find(known.begin(), known.end(), webhook) != known.end()) continue;
    if (known.size() >= static_cast<size_t>(limits.job_webhooks)) {
      return MakeError(Reason::kInvalidField,
                       "the job that answers the request has webhooks enough",
                       Violation{.where = "job.webhooks",
                                 .got = absl::StrCat("more than ", limits.job_webhooks),
                                 .wanted = "fewer, or no_cache"});
    }
    QD_RETURN_IF_ERROR(store.AddWebhook(job, webhook));
    if (IsFinal(job.state) && Wants(webhook, job.state)) {
      QD_RETURN_IF_ERROR(Tell(store, job, webhook, static_cast<int64_t>(known.size()), job.failure,
                              job.end_time.value_or(now), now));
    }
    known.push_back(webhook);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::optional<Task>> NextTask(StoreReader& store, const Worker& worker,
                                             const Limits& limits) {
  QD_ASSIGN_OR_RETURN(const RunningTasks running, store.CountRunningTasks());
  std::vector<Task> firsts;  // of each tenant and backend
  for (const std::string& backend : BackendsFor(worker)) {
    QD_ASSIGN_OR_RETURN(const std::vector<std::string> tenants, store.PendingTenants(backend));
    for (const std::string& tenant : tenants) {
      if (!MayRunMore(tenant, running, limits)) continue;
      QD_ASSIGN_OR_RETURN(std::vector<Task> first,
                          store.PendingTasks(backend, tenant, worker.free_memory_bytes, 1));
      for (Task& task : first) firsts.push_back(std::move(task));
    }
  }
  const std::optional<size_t> picked = PickTask(firsts, running, worker, limits);
  if (!picked.has_value()) return std::optional<Task>();
  return std::optional<Task>(std::move(firsts[*picked]));
}

absl::StatusOr<Lease> GiveLease(StoreTransaction& store, Task& task, const Worker& worker,
                                const Limits& limits, absl::Time now, AfterCommit& after) {
  QD_ASSIGN_OR_RETURN(Job job, store.GetJob(task.job_id));
  task.state = TaskState::kLeased;
  ++task.fencing_token;
  QD_RETURN_IF_ERROR(store.UpdateTask(task));
  Lease lease{.task_id = task.id,
              .job_id = task.job_id,
              .worker = worker.name,
              .session = worker.session,
              .fencing_token = task.fencing_token,
              .expire_time = now + limits.lease,
              .acknowledged_event = 0,
              .stuck_time = StuckTime(task, now, now, limits)};
  QD_RETURN_IF_ERROR(store.PutLease(lease));
  ++job.attempts;
  job.start_time = now;
  job.worker = worker.name;
  job.progress.clear();
  QD_RETURN_IF_ERROR(ChangeState(store, job, JobState::kRunning, std::nullopt, now, after));
  return lease;
}

absl::StatusOr<JobState> EndAttempt(StoreTransaction& store, const Lease& lease, AttemptEnd end,
                                    const std::optional<Failure>& failure, const Limits& limits,
                                    absl::Time now, AfterCommit& after) {
  QD_ASSIGN_OR_RETURN(Job job, store.GetJob(lease.job_id));
  QD_ASSIGN_OR_RETURN(std::optional<Task> task, store.FindTask(lease.task_id));
  if (!task.has_value()) return MakeError(Reason::kInternal, "a lease without its task");
  const Attempt attempt = {.end = end,
                           .failure = failure,
                           .sealed_parts = lease.sealed_parts,
                           .number = job.attempts,
                           .worker = lease.worker};
  const Verdict verdict = AfterAttempt(job.state, *task, attempt, limits);
  QD_RETURN_IF_ERROR(store.DeleteLease(lease.task_id));
  if (verdict.counts_as_failure) ++task->failures;
  task->sealed_parts = std::max(task->sealed_parts, lease.sealed_parts);
  if (verdict.record.has_value()) Remember(*verdict.record, *task);
  if (IsFinal(verdict.state)) {
    task->state = TaskState::kDone;
    // The tenant may have waited for a place of its own.
    QD_ASSIGN_OR_RETURN(const int64_t waiting, store.CountPendingTasksOf(task->tenant));
    if (waiting > 0) after.topics.emplace_back(kWorkTopic);
  } else {
    const bool delayed = verdict.delay > absl::ZeroDuration();
    task->state = delayed ? TaskState::kDelayed : TaskState::kPending;
    task->not_before = task->queued_time = now + verdict.delay;
    if (!delayed) after.topics.emplace_back(kWorkTopic);
  }
  QD_RETURN_IF_ERROR(store.UpdateTask(*task));
  if (!verdict.keep_files) {
    QD_RETURN_IF_ERROR(store.DeleteArtifactFiles(job));
    after.blob_prefixes.push_back(BlobPrefix(job.id, lease.fencing_token));
  }
  QD_RETURN_IF_ERROR(ChangeState(store, job, verdict.state, verdict.failure, now, after));
  return job.state;
}

absl::StatusOr<Job> CancelJob(StoreTransaction& store, std::string_view job_id, absl::Time now,
                              AfterCommit& after) {
  QD_ASSIGN_OR_RETURN(Job job, store.GetJob(job_id));
  const CancelAction action = OnCancel(job.state);
  if (action == CancelAction::kNothing) return job;
  if (action == CancelAction::kRefuse) {
    return MakeError(Reason::kWrongState, "the job cannot be cancelled",
                     Violation{.where = "jobs/" + job.id,
                               .got = std::string(NameOf(job.state)),
                               .wanted = "PENDING or RUNNING"});
  }
  QD_ASSIGN_OR_RETURN(std::optional<Task> task, store.FindTaskOfJob(job.id));
  if (!task.has_value()) return MakeError(Reason::kInternal, "an open job without its task");
  if (action == CancelAction::kAskWorker) {
    QD_RETURN_IF_ERROR(ChangeState(store, job, JobState::kCancelling, std::nullopt, now, after));
    after.topics.push_back(ControlTopicOf(task->id));
    return job;
  }
  task->state = TaskState::kDone;
  QD_RETURN_IF_ERROR(store.UpdateTask(*task));
  QD_RETURN_IF_ERROR(ChangeState(store, job, JobState::kCancelled, std::nullopt, now, after));
  return job;
}

absl::Status NoteProgress(StoreTransaction& store, const Job& job, Lease& lease,
                          const Limits& limits, absl::Time now) {
  QD_ASSIGN_OR_RETURN(const std::optional<Task> task, store.FindTask(lease.task_id));
  if (!task.has_value()) return MakeError(Reason::kInternal, "a lease without its task");
  lease.stuck_time = StuckTime(*task, job.start_time.value_or(now), now, limits);
  return absl::OkStatus();
}

absl::Status WakeDelayed(StoreTransaction& store, const Task& due, absl::Time now,
                         AfterCommit& after) {
  QD_ASSIGN_OR_RETURN(std::optional<Task> task, store.FindTask(due.id));
  // It may have been cancelled since it was listed.
  if (!task.has_value() || task->state != TaskState::kDelayed || task->not_before > now) {
    return absl::OkStatus();
  }
  task->state = TaskState::kPending;
  after.topics.emplace_back(kWorkTopic);
  return store.UpdateTask(*task);
}

absl::Status RemoveJob(StoreTransaction& store, std::string_view job_id, AfterCommit& after) {
  QD_RETURN_IF_ERROR(store.DeleteJob(job_id));
  after.blob_prefixes.push_back(BlobPrefix(job_id));
  after.topics.push_back(TopicOf(job_id));
  return absl::OkStatus();
}

absl::Status FailOverdue(StoreTransaction& store, const Task& overdue, absl::Time now,
                         AfterCommit& after) {
  QD_ASSIGN_OR_RETURN(std::optional<Task> task, store.FindTask(overdue.id));
  // A worker may have taken it since it was listed.
  if (!task.has_value() || !WaitedTooLong(*task, now)) return absl::OkStatus();
  QD_ASSIGN_OR_RETURN(Job job, store.GetJob(task->job_id));
  task->state = TaskState::kDone;
  QD_RETURN_IF_ERROR(store.UpdateTask(*task));
  const Failure failure = FailureOf(
      MakeError(Reason::kQueueTimeLimit, "the job waited longer than its max_queue_time",
                Violation{.where = "resources.max_queue_time",
                          .got = absl::FormatDuration(now - task->queued_time),
                          .wanted = "at most " + absl::FormatDuration(*task->max_queue_time)}));
  return ChangeState(store, job, JobState::kFailed, failure, now, after);
}

}  // namespace quantd
