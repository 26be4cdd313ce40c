#include "server/api/synchronize.h"

#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/log.h"
#include "server/api/calls.h"
#include "server/api/job_inputs.h"
#include "server/api/job_messages.h"
#include "server/api/request_checks.h"

namespace quantd {
namespace {

constexpr absl::Duration kIdlePoll = absl::Seconds(1);
constexpr size_t kMaxFailureText = 8 << 10;
constexpr int kMaxFailureViolations = 64;
constexpr std::string_view kTasks = "tasks/";

Worker WorkerOf(const v1::SynchronizeRequest& request, absl::Time now) {
  Worker worker;
  worker.name = request.worker();
  worker.session = request.session();
  worker.last_seen = now;
  const v1::WorkerCapabilities& capabilities = request.capabilities();
  worker.backends.assign(capabilities.backends().begin(), capabilities.backends().end());
  worker.threads = capabilities.threads();
  worker.memory_bytes = capabilities.memory_bytes();
  worker.free_memory_bytes = request.free_memory_bytes();
  worker.engine_version = capabilities.engine_version();
  worker.isa = capabilities.isa();
  worker.draining = request.draining();
  return worker;
}

std::string TaskIdOf(const v1::TaskReport& report) {
  return std::string(std::string_view(report.task()).substr(kTasks.size()));
}

absl::Status LeaseLost(std::string_view got) {
  return MakeError(Reason::kLeaseLost, "the lease is not this worker's any more",
                   Violation{.where = "task",
                             .got = std::string(got),
                             .wanted = "the newest fencing token and session"});
}

// What is not known here is a kind of RUNNING of a newer worker: no final state is ever added.
bool IsFinal(v1::TaskReport::State state) {
  return state == v1::TaskReport::SUCCEEDED || state == v1::TaskReport::FAILED ||
         state == v1::TaskReport::CANCELLED || state == v1::TaskReport::RETURNED;
}

// What a worker says went wrong, cut to a size that the store and trailers can carry.
Failure BoundedFailure(const v1::JobError& error) {
  Failure failure = FailureFromProto(error);
  if (!ReasonByName(failure.reason).has_value()) {
    failure.message = failure.reason + ": " + failure.message;
    failure.reason = RowOf(Reason::kInternal).name;
  }
  const auto cut = [](std::string& text) {
    if (text.size() > kMaxFailureText) text.resize(kMaxFailureText);
  };
  cut(failure.message);
  if (failure.violations.size() > kMaxFailureViolations) {
    failure.violations.resize(kMaxFailureViolations);
  }
  for (Violation& violation : failure.violations) {
    cut(violation.where);
    cut(violation.got);
    cut(violation.wanted);
  }
  return failure;
}

Failure GateMissed(const v1::JobResult& result) {
  std::vector<Violation> violations;
  for (const std::string& line : result.gate().missed()) {
    violations.push_back({.where = "evaluation.gate", .got = line, .wanted = "the gate reached"});
  }
  return FailureOf(
      MakeError(Reason::kQualityGate, "the result missed the quality gate", std::move(violations)));
}

// What a worker hears whose task goes on: go on, or stop.
void TellToGoOn(const Lease& lease, const Job& job, const Limits& limits,
                SynchronizeAnswer& answer) {
  v1::SynchronizeResponse& response = answer.response;
  const bool cancelling = job.state == JobState::kCancelling;
  response.set_desired(cancelling ? v1::SynchronizeResponse::CANCEL : v1::SynchronizeResponse::RUN);
  response.mutable_assignment()->set_task(absl::StrCat(ToAbsl(kTasks), lease.task_id));
  response.mutable_assignment()->set_fencing_token(lease.fencing_token);
  response.set_acknowledged_event(lease.acknowledged_event);
  *response.mutable_lease_expire_time() = ToProto(lease.expire_time);
  *response.mutable_next_call_delay() = ToProto(HeartbeatInterval(limits));
  answer.may_wait = !cancelling;
}

void TellAlways(const ApiContext& api, SynchronizeAnswer& answer) {
  *answer.response.mutable_lease() = ToProto(api.limits.lease);
  answer.response.set_blob_store_uri(api.blob_uri);
}

// Names of workers belong to the token that first came with them: its holders may take one over
// from a process of theirs that died, and nobody else may.
std::string OwnerOf(const Caller& caller) {
  return caller.token_id.empty() ? "" : absl::StrCat(caller.tenant, "/", caller.name);
}

bool MayUseName(const std::optional<std::string>& owner, const Caller& caller) {
  return !owner.has_value() || owner->empty() || *owner == OwnerOf(caller);
}

// A heartbeat of a worker whose lease is good for a while changes nothing that must be remembered:
// it is answered without a write, which costs an fsync. Nothing: it takes a whole visit.
absl::StatusOr<std::optional<SynchronizeAnswer>> AnswerHeartbeat(
    const ApiContext& api, const Caller& caller, const v1::SynchronizeRequest& request,
    StoreReader& store) {
  using Answer = std::optional<SynchronizeAnswer>;
  const v1::TaskReport& report = request.task();
  if (!request.has_task() || IsFinal(report.state()) || report.events_size() > 0) return Answer();
  QD_ASSIGN_OR_RETURN(const auto lease, store.FindLease(TaskIdOf(report)));
  if (!lease.has_value() || lease->fencing_token != report.fencing_token() ||
      lease->worker != request.worker() || lease->session != request.session() ||
      report.sealed_parts() > lease->sealed_parts ||
      MustRenew(*lease, api.clock.Now(), api.limits)) {
    return Answer();
  }
  QD_ASSIGN_OR_RETURN(const auto worker, store.FindWorker(request.worker()));
  if (!worker.has_value() || worker->session != request.session() ||
      worker->draining != request.draining()) {
    return Answer();
  }
  QD_ASSIGN_OR_RETURN(const auto owner, store.FindWorkerOwner(request.worker()));
  if (!MayUseName(owner, caller)) return Answer();
  QD_ASSIGN_OR_RETURN(const Job job, store.GetJob(lease->job_id));
  SynchronizeAnswer answer;
  TellAlways(api, answer);
  TellToGoOn(*lease, job, api.limits, answer);
  answer.response.set_drain(worker->drain_asked);
  return Answer(std::move(answer));
}

struct VisitResult {
  SynchronizeAnswer answer;
  AfterCommit after;
  // For the metrics: set when an attempt ended.
  std::optional<JobState> outcome;
  Job job;
};

// One call, within its transaction.
class Visit : public VisitResult {
 public:
  Visit(ApiContext& api, const Caller& caller, const v1::SynchronizeRequest& request,
        StoreTransaction& store)
      : api_(api),
        caller_(caller),
        request_(request),
        store_(store),
        now_(api.clock.Now()),
        worker_(WorkerOf(request, now_)) {}

  absl::Status Run() {
    QD_RETURN_IF_ERROR(TakeName());
    QD_RETURN_IF_ERROR(TakeSession());
    TellAlways(api_, answer);
    return request_.has_task() ? TakeReport() : FindWork();
  }

 private:
  absl::Status TakeName() {
    QD_ASSIGN_OR_RETURN(const auto owner, store_.FindWorkerOwner(request_.worker()));
    if (!MayUseName(owner, caller_)) {
      return MakeError(Reason::kPermissionDenied, "the worker's name is taken",
                       Violation{.where = "worker",
                                 .got = request_.worker() + ", a name of another token's worker",
                                 .wanted = "a name of its own"});
    }
    if (owner == OwnerOf(caller_)) return absl::OkStatus();
    return store_.PutWorkerOwner(request_.worker(), OwnerOf(caller_));
  }

  // Notes the worker. A new session of a known name ends the old one's lease.
  absl::Status TakeSession() {
    QD_ASSIGN_OR_RETURN(const bool ended, store_.HasSessionEnded(worker_.name, worker_.session));
    if (ended) return LeaseLost("a session that a newer one has replaced");
    QD_ASSIGN_OR_RETURN(const auto known, store_.FindWorker(worker_.name));
    if (known.has_value() && known->session == worker_.session) {
      worker_.drain_asked = known->drain_asked;
    } else if (known.has_value()) {
      QD_RETURN_IF_ERROR(store_.EndSession(worker_.name, known->session, now_));
      QD_ASSIGN_OR_RETURN(const auto lease, store_.FindLeaseOfWorker(worker_.name));
      if (lease.has_value()) {
        QD_RETURN_IF_ERROR(EndAttempt(store_, *lease, AttemptEnd::kLeaseLost, std::nullopt,
                                      api_.limits, now_, after)
                               .status());
      }
    }
    answer.response.set_drain(worker_.drain_asked);
    return store_.PutWorker(worker_);
  }

  absl::Status TakeReport() {
    const v1::TaskReport& report = request_.task();
    QD_ASSIGN_OR_RETURN(const auto found, store_.FindLease(TaskIdOf(report)));
    if (!found.has_value()) return LeaseLost("a task without a lease");
    Lease lease = *found;
    if (lease.fencing_token != report.fencing_token() || lease.worker != request_.worker() ||
        lease.session != request_.session()) {
      return LeaseLost(absl::StrCat("token ", report.fencing_token()));
    }
    QD_ASSIGN_OR_RETURN(job, store_.GetJob(lease.job_id));
    const int64_t told = lease.acknowledged_event, sealed = lease.sealed_parts;
    QD_RETURN_IF_ERROR(StoreEvents(report, lease));
    TakeSealedParts(report, lease);
    if (lease.acknowledged_event > told || lease.sealed_parts > sealed) {
      QD_RETURN_IF_ERROR(NoteProgress(store_, job, lease, api_.limits, now_));
    }
    answer.response.set_acknowledged_event(lease.acknowledged_event);
    if (!IsFinal(report.state())) return Renew(lease);
    return Finish(report, lease);
  }

  // No more than there can be: a worker that tells of ever more must not run for ever.
  void TakeSealedParts(const v1::TaskReport& report, Lease& lease) const {
    if (report.sealed_parts() <= lease.sealed_parts) return;
    v1::Plan plan;
    plan.ParseFromString(job.plan);
    const int64_t most = plan.blocks() + 1;  // and the choice of a recipe
    lease.sealed_parts = std::clamp(report.sealed_parts(), lease.sealed_parts, most);
  }

  absl::Status StoreEvents(const v1::TaskReport& report, Lease& lease) {
    // Of several progress events in one call only the last tells anything.
    int last_progress = -1;
    for (int i = 0; i < report.events_size(); ++i) {
      if (report.events(i).has_progress()) last_progress = i;
    }
    bool stored = false;
    for (int i = 0; i < report.events_size(); ++i) {
      const v1::TaskEvent& event = report.events(i);
      if (event.number() <= lease.acknowledged_event) continue;
      lease.acknowledged_event = event.number();
      stored = true;
      if (event.has_progress() && i != last_progress) continue;
      QD_RETURN_IF_ERROR(StoreEvent(event, lease));
    }
    if (stored) after.topics.push_back(TopicOf(job.id));
    return absl::OkStatus();
  }

  absl::Status StoreEvent(const v1::TaskEvent& told, const Lease& lease) {
    Event event;
    event.time = now_;
    event.attempt = job.attempts;
    switch (told.event_case()) {
      case v1::TaskEvent::kProgress:
        event.kind = Event::Kind::kProgress;
        event.body = told.progress().SerializeAsString();
        job.progress = event.body;
        break;
      case v1::TaskEvent::kLayer:
        event.kind = Event::Kind::kLayer;
        event.body = told.layer().SerializeAsString();
        break;
      case v1::TaskEvent::kFileSealed:
        event.kind = Event::Kind::kFile;
        event.body = told.file_sealed().SerializeAsString();
        QD_RETURN_IF_ERROR(StoreFile(told.file_sealed(), lease));
        break;
      case v1::TaskEvent::kWarning:
        event.kind = Event::Kind::kWarning;
        event.body = told.warning().SerializeAsString();
        break;
      case v1::TaskEvent::EVENT_NOT_SET:
        return absl::OkStatus();
    }
    QD_RETURN_IF_ERROR(store_.AppendEvent(job, std::move(event)));
    return store_.UpdateJob(job);
  }

  absl::Status StoreFile(const v1::ArtifactFile& file, const Lease& lease) {
    const std::string blob =
        absl::StrCat(BlobPrefix(lease.job_id, lease.fencing_token), "/", file.path());
    QD_ASSIGN_OR_RETURN(const auto reader, api_.blobs.Open(blob));
    if (reader->size() != file.bytes()) {
      return MakeError(Reason::kInvalidField, "refused",
                       Violation{.where = "file_sealed " + file.path(),
                                 .got = absl::StrCat(file.bytes(), " bytes"),
                                 .wanted = absl::StrCat(reader->size(), ", as in the blob store")});
    }
    return store_.PutArtifactFile(
        job, {.path = file.path(), .bytes = file.bytes(), .sha256 = file.sha256(), .blob = blob});
  }

  absl::Status Renew(Lease& lease) {
    lease.reported = true;
    lease.expire_time = RenewedUntil(now_, api_.limits);
    QD_RETURN_IF_ERROR(store_.PutLease(lease));
    TellToGoOn(lease, job, api_.limits, answer);
    return absl::OkStatus();
  }

  absl::Status Finish(const v1::TaskReport& report, const Lease& lease) {
    AttemptEnd end = AttemptEnd::kReturned;
    std::optional<Failure> failure;
    switch (report.state()) {
      case v1::TaskReport::SUCCEEDED: {
        const absl::Status complete = CheckManifest(report.result());
        if (!complete.ok()) {
          end = AttemptEnd::kFailed;
          failure = FailureOf(complete);
          break;
        }
        QD_RETURN_IF_ERROR(StoreResult(report.result()));
        const bool passed = report.result().gate().passed();
        end = passed ? AttemptEnd::kSucceeded : AttemptEnd::kGateMissed;
        if (!passed) failure = GateMissed(report.result());
        break;
      }
      case v1::TaskReport::FAILED:
        end = AttemptEnd::kFailed;
        failure = BoundedFailure(report.error());
        break;
      case v1::TaskReport::CANCELLED:
        end = AttemptEnd::kStopped;
        break;
      default:
        break;
    }
    QD_ASSIGN_OR_RETURN(outcome, EndAttempt(store_, lease, end, failure, api_.limits, now_, after));
    spdlog::info("job {} is {} after attempt {} on {}", job.id, NameOf(*outcome), job.attempts,
                 lease.worker);
    answer.response.set_desired(v1::SynchronizeResponse::IDLE);
    return absl::OkStatus();
  }

  // Every file that the result names was sealed in this attempt, as it says.
  absl::Status CheckManifest(const v1::JobResult& result) {
    for (const v1::ArtifactFile& file : result.files()) {
      const auto sealed = store_.GetArtifactFile(job, file.path());
      if (sealed.ok() && sealed->sha256 == file.sha256() && sealed->bytes == file.bytes()) continue;
      return MakeError(Reason::kInternal, "the manifest names a file that was not sealed so",
                       Violation{.where = file.path(),
                                 .got = sealed.ok() ? sealed->sha256 : "no such file",
                                 .wanted = file.sha256()});
    }
    return absl::OkStatus();
  }

  absl::Status StoreResult(const v1::JobResult& result) {
    const SplitMessage parts = Split(result);
    job.result = parts.head;
    QD_RETURN_IF_ERROR(store_.SetResultDetail(job, parts.tail));
    Event event;
    event.time = now_;
    event.attempt = job.attempts;
    event.kind = Event::Kind::kResult;
    event.body = result.SerializeAsString();
    if (event.body.size() > kMaxEventBody) event.body = parts.head;
    QD_RETURN_IF_ERROR(store_.AppendEvent(job, std::move(event)));
    return store_.UpdateJob(job);
  }

  absl::Status FindWork() {
    QD_ASSIGN_OR_RETURN(std::optional<Lease> lease, store_.FindLeaseOfWorker(request_.worker()));
    if (lease.has_value() && lease->reported) {
      // It had begun and has dropped the task, as after an outage longer than its lease. That
      // attempt is over: the next has a token of its own, or its events would pass for told.
      QD_RETURN_IF_ERROR(
          EndAttempt(store_, *lease, AttemptEnd::kLeaseLost, std::nullopt, api_.limits, now_, after)
              .status());
    } else if (lease.has_value()) {
      // The answer that gave it the lease got lost: give the same one again.
      lease->expire_time = now_ + api_.limits.lease;
      QD_RETURN_IF_ERROR(store_.PutLease(*lease));
      QD_ASSIGN_OR_RETURN(const auto task, store_.FindTask(lease->task_id));
      if (!task.has_value()) return MakeError(Reason::kInternal, "a lease without its task");
      return Assign(*task, *lease);
    }
    if (!request_.draining() && api_.hub.stopped()) return ShuttingDown();
    QD_ASSIGN_OR_RETURN(std::optional<Task> task, NextTask(store_, worker_, api_.limits));
    if (task.has_value()) {
      QD_ASSIGN_OR_RETURN(const Lease given,
                          GiveLease(store_, *task, worker_, api_.limits, now_, after));
      return Assign(*task, given);
    }
    answer.response.set_desired(v1::SynchronizeResponse::IDLE);
    // A worker that does not wait here would otherwise call in a tight loop.
    const bool waits = FromProto(request_.long_poll()) > absl::ZeroDuration();
    *answer.response.mutable_next_call_delay() = ToProto(waits ? absl::ZeroDuration() : kIdlePoll);
    answer.may_wait = !request_.draining() && !worker_.drain_asked;
    return absl::OkStatus();
  }

  absl::Status Assign(const Task& task, const Lease& lease) {
    QD_ASSIGN_OR_RETURN(job, store_.GetJob(task.job_id));
    v1::SynchronizeResponse& response = answer.response;
    response.set_desired(v1::SynchronizeResponse::RUN);
    v1::TaskAssignment* assignment = response.mutable_assignment();
    assignment->set_task(absl::StrCat(ToAbsl(kTasks), task.id));
    assignment->set_job(JobName(task.job_id));
    assignment->set_fencing_token(lease.fencing_token);
    assignment->set_attempt(job.attempts);
    assignment->mutable_spec()->ParseFromString(job.spec);
    QD_RETURN_IF_ERROR(TellInputs(store_, job.tenant, assignment->spec(), *assignment));
    assignment->set_blob_prefix(BlobPrefix(job.id, lease.fencing_token) + "/");
    assignment->set_checkpoint_prefix(CheckpointPrefix(job.id, task.id) + "/");
    *assignment->mutable_max_run_time() = ToProto(task.max_run_time);
    for (const std::string& root : api_.model_roots) assignment->add_model_roots(root);
    *response.mutable_lease_expire_time() = ToProto(lease.expire_time);
    *response.mutable_next_call_delay() = ToProto(HeartbeatInterval(api_.limits));
    return absl::OkStatus();
  }

  ApiContext& api_;
  const Caller& caller_;
  const v1::SynchronizeRequest& request_;
  StoreTransaction& store_;
  const absl::Time now_;
  Worker worker_;
};

}  // namespace

std::string TopicOf(const v1::SynchronizeRequest& request) {
  return request.has_task() ? ControlTopicOf(TaskIdOf(request.task())) : std::string(kWorkTopic);
}

absl::StatusOr<SynchronizeAnswer> Synchronize(ApiContext& api, const Caller& caller,
                                              const v1::SynchronizeRequest& request) {
  QD_ASSIGN_OR_RETURN(auto heartbeat, ReadResult(api.store, [&](StoreReader& store) {
                        return AnswerHeartbeat(api, caller, request, store);
                      }));
  if (heartbeat.has_value()) return *std::move(heartbeat);
  QD_ASSIGN_OR_RETURN(
      VisitResult done,
      WriteResult(api.store, [&](StoreTransaction& store) -> absl::StatusOr<VisitResult> {
        Visit visit(api, caller, request, store);
        QD_RETURN_IF_ERROR(visit.Run());
        return static_cast<VisitResult&&>(visit);
      }));
  api.Committed(done.after);
  if (done.outcome.has_value() && done.job.start_time.has_value()) {
    const std::string_view name =
        *done.outcome == JobState::kPending ? std::string_view("RETRIED") : NameOf(*done.outcome);
    api.metrics.TaskDone(done.job.method, name, api.clock.Now() - *done.job.start_time);
  }
  return std::move(done.answer);
}

}  // namespace quantd
