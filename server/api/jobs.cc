#include "server/api/jobs.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/log.h"
#include "proto/convert.h"
#include "server/api/job_filter.h"
#include "server/api/job_messages.h"
#include "server/api/page_token.h"
#include "server/api/request_checks.h"

namespace quantd {
namespace {

constexpr absl::Duration kShowWorkersFor = absl::Hours(24);

v1::Worker WorkerMessage(const Worker& worker, const std::optional<Lease>& lease, absl::Time now,
                         const Limits& limits) {
  v1::Worker message;
  message.set_name(WorkerName(worker.name));
  if (now - worker.last_seen > limits.lease) {
    message.set_state(v1::Worker::LOST);
  } else if (worker.draining || worker.drain_asked) {
    message.set_state(v1::Worker::DRAINING);
  } else {
    message.set_state(lease.has_value() ? v1::Worker::BUSY : v1::Worker::IDLE);
  }
  *message.mutable_last_seen_time() = ToProto(worker.last_seen);
  if (lease.has_value()) message.set_job(JobName(lease->job_id));
  for (const std::string& name : worker.backends) {
    const v1::BackendKind backend = BackendByName(name);
    if (backend != v1::BACKEND_KIND_UNSPECIFIED) message.add_backends(backend);
  }
  message.set_threads(worker.threads);
  message.set_memory_bytes(worker.memory_bytes);
  message.set_free_memory_bytes(worker.free_memory_bytes);
  message.set_engine_version(worker.engine_version);
  message.set_isa(worker.isa);
  return message;
}

// Whether everything of a job is wanted.
absl::StatusOr<bool> WantsAll(v1::JobView view, v1::JobView fallback) {
  switch (view == v1::JOB_VIEW_UNSPECIFIED ? fallback : view) {
    case v1::JOB_VIEW_BASIC:
      return false;
    case v1::JOB_VIEW_FULL:
      return true;
    default:
      return MakeError(Reason::kInvalidField, "refused",
                       Violation{.where = "view",
                                 .got = absl::StrCat("value ", static_cast<int>(view)),
                                 .wanted = "JOB_VIEW_BASIC or JOB_VIEW_FULL"});
  }
}

// The jobs of the page with everything, as many as a message may carry; at least one.
absl::Status AddWholeJobs(StoreReader& store, const JobPage& page, int64_t max_bytes,
                          v1::ListJobsResponse& response, std::optional<JobCursor>& next) {
  int64_t bytes = 0;
  for (const Job& job : page.jobs) {
    QD_ASSIGN_OR_RETURN(v1::Job message, WholeJob(store, job));
    bytes += static_cast<int64_t>(message.ByteSizeLong());
    if (bytes > max_bytes && response.jobs_size() > 0) return absl::OkStatus();
    *response.add_jobs() = std::move(message);
    next = JobCursor{.create_time = job.create_time, .number = job.number};
  }
  next = page.next;
  return absl::OkStatus();
}

// What a worker runs is told to those who may see that job.
void ForgetJobOfOthers(StoreReader& store, const Caller& caller, const std::optional<Lease>& lease,
                       v1::Worker& message) {
  const bool known = lease.has_value() && store.GetJobIn(caller.scope(), lease->job_id).ok();
  if (!known) message.clear_job();
}

}  // namespace

absl::Status GetJob(ApiContext& api, const Caller& caller, const v1::GetJobRequest& request,
                    v1::Job* response) {
  QD_ASSIGN_OR_RETURN(const std::string id, JobIdFromName(request.name()));
  QD_ASSIGN_OR_RETURN(const bool all, WantsAll(request.view(), v1::JOB_VIEW_FULL));
  QD_ASSIGN_OR_RETURN(*response,
                      ReadResult(api.store, [&](StoreReader& store) -> absl::StatusOr<v1::Job> {
                        QD_ASSIGN_OR_RETURN(const Job job, store.GetJobIn(caller.scope(), id));
                        if (!all) return ToProto(job, nullptr);
                        return WholeJob(store, job);
                      }));
  return absl::OkStatus();
}

absl::Status ListJobs(ApiContext& api, const Caller& caller, const v1::ListJobsRequest& request,
                      v1::ListJobsResponse* response) {
  JobQuery query{.scope = caller.scope()};
  QD_ASSIGN_OR_RETURN(query.limit, PageSize(request.page_size(), api.limits.default_page_size,
                                            api.limits.page_size));
  QD_ASSIGN_OR_RETURN(query.conditions, ParseJobFilter(request.filter()));
  QD_ASSIGN_OR_RETURN(query.order, ParseJobOrder(request.order_by()));
  query.max_bytes = api.limits.page_bytes;
  const std::string told = absl::StrCat(request.filter(), "\n", request.order_by(), "\n",
                                        query.scope.tenant().value_or("*"));
  if (!request.page_token().empty()) {
    QD_ASSIGN_OR_RETURN(query.after, DecodeJobToken(request.page_token(), told));
  }
  QD_ASSIGN_OR_RETURN(const bool all, WantsAll(request.view(), v1::JOB_VIEW_BASIC));
  const auto list = [&](StoreReader& store) -> absl::StatusOr<v1::ListJobsResponse> {
    v1::ListJobsResponse listed;
    QD_ASSIGN_OR_RETURN(const JobPage page, store.ListJobs(query));
    std::optional<JobCursor> next = page.next;
    if (all) {
      QD_RETURN_IF_ERROR(AddWholeJobs(store, page, api.limits.page_bytes, listed, next));
    } else {
      for (const Job& job : page.jobs) *listed.add_jobs() = ToProto(job, nullptr);
    }
    if (next.has_value()) listed.set_next_page_token(EncodeJobToken(*next, told));
    return listed;
  };
  QD_ASSIGN_OR_RETURN(*response, ReadResult(api.store, list));
  return absl::OkStatus();
}

absl::Status CancelJob(ApiContext& api, const Caller& caller, const v1::CancelJobRequest& request,
                       v1::Job* response) {
  QD_ASSIGN_OR_RETURN(const std::string id, JobIdFromName(request.name()));
  using Cancelled = std::pair<v1::Job, AfterCommit>;
  const auto cancel = [&](StoreTransaction& store) -> absl::StatusOr<Cancelled> {
    AfterCommit after;
    QD_RETURN_IF_ERROR(store.GetJobIn(caller.scope(), id).status());
    QD_ASSIGN_OR_RETURN(const Job job, CancelJob(store, id, api.clock.Now(), after));
    QD_ASSIGN_OR_RETURN(v1::Job message, WholeJob(store, job));
    return Cancelled(std::move(message), std::move(after));
  };
  QD_ASSIGN_OR_RETURN(Cancelled cancelled, WriteResult(api.store, cancel));
  *response = std::move(cancelled.first);
  api.Committed(cancelled.second);
  return absl::OkStatus();
}

absl::Status DeleteJob(ApiContext& api, const Caller& caller, const v1::DeleteJobRequest& request,
                       google::protobuf::Empty* /*response*/) {
  QD_ASSIGN_OR_RETURN(const std::string id, JobIdFromName(request.name()));
  QD_RETURN_IF_ERROR(api.store.Write([&](StoreTransaction& store) -> absl::Status {
    QD_ASSIGN_OR_RETURN(const Job job, store.GetJobIn(caller.scope(), id));
    if (!IsFinal(job.state)) {
      return MakeError(Reason::kWrongState, "the job cannot be deleted",
                       Violation{.where = request.name(),
                                 .got = std::string(NameOf(job.state)),
                                 .wanted = "SUCCEEDED, FAILED or CANCELLED: cancel it first"});
    }
    return store.DeleteJob(id);
  }));
  // The rows are gone and nothing names the blobs any more; if this fails they are swept at the
  // next start.
  if (const absl::Status status = api.blobs.DeleteAll(BlobPrefix(id)); !status.ok()) {
    spdlog::error("cannot remove the files of job {}: {}", id, std::string(status.message()));
  }
  api.Committed({.topics = {TopicOf(id)}, .blob_prefixes = {}});
  spdlog::info("job {} deleted", id);
  return absl::OkStatus();
}

absl::Status ListArtifactFiles(ApiContext& api, const Caller& caller,
                               const v1::ListArtifactFilesRequest& request,
                               v1::ListArtifactFilesResponse* response) {
  QD_ASSIGN_OR_RETURN(const std::string id, JobIdFromName(request.job(), "job"));
  QD_ASSIGN_OR_RETURN(const int limit,
                      PageSize(request.page_size(), api.limits.page_size, api.limits.page_size));
  std::string after_path;
  if (!request.page_token().empty()) {
    QD_ASSIGN_OR_RETURN(after_path, DecodeTextToken(request.page_token()));
  }
  const auto list = [&](StoreReader& store) -> absl::StatusOr<v1::ListArtifactFilesResponse> {
    v1::ListArtifactFilesResponse listed;
    QD_ASSIGN_OR_RETURN(const Job job, store.GetJobIn(caller.scope(), id));
    QD_ASSIGN_OR_RETURN(const auto files, store.ListArtifactFiles(job, after_path, limit + 1));
    for (const ArtifactFile& file : files) {
      if (listed.files_size() == limit) {
        listed.set_next_page_token(EncodeTextToken(listed.files(limit - 1).path()));
        break;
      }
      *listed.add_files() = ToProto(file);
    }
    listed.set_complete(IsFinal(job.state));
    return listed;
  };
  QD_ASSIGN_OR_RETURN(*response, ReadResult(api.store, list));
  return absl::OkStatus();
}

absl::Status ListWorkers(ApiContext& api, const Caller& caller,
                         const v1::ListWorkersRequest& request, v1::ListWorkersResponse* response) {
  const absl::Time now = api.clock.Now();
  QD_ASSIGN_OR_RETURN(const int limit,
                      PageSize(request.page_size(), api.limits.page_size, api.limits.page_size));
  std::string after;
  if (!request.page_token().empty()) {
    QD_ASSIGN_OR_RETURN(after, DecodeTextToken(request.page_token()));
  }
  const auto list = [&](StoreReader& store) -> absl::StatusOr<v1::ListWorkersResponse> {
    v1::ListWorkersResponse listed;
    std::string last;
    // In order of name.
    QD_ASSIGN_OR_RETURN(const auto workers, store.ListWorkers(now - kShowWorkersFor));
    for (const Worker& worker : workers) {
      if (worker.name <= after) continue;
      if (listed.workers_size() == limit) {
        listed.set_next_page_token(EncodeTextToken(last));
        break;
      }
      QD_ASSIGN_OR_RETURN(const auto lease, store.FindLeaseOfWorker(worker.name));
      v1::Worker* message = listed.add_workers();
      *message = WorkerMessage(worker, lease, now, api.limits);
      ForgetJobOfOthers(store, caller, lease, *message);
      last = worker.name;
    }
    return listed;
  };
  QD_ASSIGN_OR_RETURN(*response, ReadResult(api.store, list));
  return absl::OkStatus();
}

absl::Status DrainWorker(ApiContext& api, const Caller& caller,
                         const v1::DrainWorkerRequest& request, v1::Worker* response) {
  QD_ASSIGN_OR_RETURN(const std::string id, IdFromName("workers/", request.name()));
  using Drained = std::pair<v1::Worker, AfterCommit>;
  const auto drain = [&](StoreTransaction& store) -> absl::StatusOr<Drained> {
    QD_ASSIGN_OR_RETURN(auto worker, store.FindWorker(id));
    if (!worker.has_value()) {
      return MakeError(Reason::kWorkerNotFound, "there is no such worker",
                       Violation{.where = "name", .got = request.name(), .wanted = ""});
    }
    worker->drain_asked = true;
    QD_RETURN_IF_ERROR(store.PutWorker(*worker));
    QD_ASSIGN_OR_RETURN(const auto lease, store.FindLeaseOfWorker(worker->name));
    // Idle, it waits for work; else for what is said of its task.
    AfterCommit after;
    after.topics.push_back(lease.has_value() ? ControlTopicOf(lease->task_id)
                                             : std::string(kWorkTopic));
    v1::Worker message = WorkerMessage(*worker, lease, api.clock.Now(), api.limits);
    ForgetJobOfOthers(store, caller, lease, message);
    return Drained(std::move(message), std::move(after));
  };
  QD_ASSIGN_OR_RETURN(Drained drained, WriteResult(api.store, drain));
  *response = std::move(drained.first);
  api.Committed(drained.second);
  spdlog::info("{} is told to leave", request.name());
  return absl::OkStatus();
}

}  // namespace quantd
