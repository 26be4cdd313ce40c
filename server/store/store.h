// What the server must not forget. One interface; each store passes
// tests/server/store_conformance.h.
//
// Work is done in transactions: Read gives a consistent view, Write commits everything or nothing,
// and when Write returns OK it is on the disk.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/error.h"
#include "server/job.h"
#include "server/store/access_store.h"
#include "server/store/upload_store.h"
#include "server/store/webhook_store.h"

namespace quantd {

// One condition on jobs; all conditions of a query must hold.
struct JobCondition {
  enum class Field { kState, kMethod, kModel, kLabel, kCreateTime };
  enum class Comparison { kEqual, kNotEqual, kLess, kLessOrEqual, kGreater, kGreaterOrEqual };
  Field field = Field::kState;
  Comparison comparison = Comparison::kEqual;
  std::string key = {};   // of the label
  std::string text = {};  // method, model or label value
  JobState state = JobState::kPending;
  absl::Time time = {};
};

// The last job of a page.
struct JobCursor {
  absl::Time create_time;
  int64_t number = 0;
};

enum class JobOrder { kOldestFirst, kNewestFirst };

struct JobQuery {
  TenantScope scope = TenantScope::All();
  std::vector<JobCondition> conditions = {};
  JobOrder order = JobOrder::kNewestFirst;
  std::optional<JobCursor> after = {};
  int limit = 50;
  int64_t max_bytes = int64_t{3} << 20;  // of specs, plans and results; at least one job is given
};

struct JobPage {
  std::vector<Job> jobs;
  std::optional<JobCursor> next;  // nothing: that was the last page
};

struct JobCount {
  JobState state = JobState::kPending;
  std::string method;
  int64_t jobs = 0;
};

// What was made for a request id, which is its tenant's own.
struct RequestRecord {
  std::string tenant = kDefaultTenant;
  std::string request_id;
  std::string job_id;
  std::string body_sha256;
};

// A consistent view. Not thread-safe; valid only within the function it was given to.
class StoreReader : public AccessReader, public UploadReader, public WebhookReader {
 public:
  // JOB_NOT_FOUND if there is none. For what the server does itself; calls of users: GetJobIn.
  virtual absl::StatusOr<Job> GetJob(std::string_view id) = 0;
  virtual absl::StatusOr<JobDetail> GetJobDetail(const Job& job) = 0;
  virtual absl::StatusOr<JobPage> ListJobs(const JobQuery& query) = 0;
  virtual absl::StatusOr<int64_t> CountPendingTasks() = 0;
  virtual absl::StatusOr<int64_t> CountPendingTasksOf(std::string_view tenant) = 0;
  // Of jobs that are not final.
  virtual absl::StatusOr<int64_t> CountOpenJobs() = 0;
  virtual absl::StatusOr<std::vector<JobCount>> CountJobs() = 0;
  // Ids of jobs that ended by then, the oldest first.
  virtual absl::StatusOr<std::vector<std::string>> JobsEndedBy(absl::Time time, int limit) = 0;
  virtual absl::StatusOr<std::optional<RequestRecord>> FindRequest(std::string_view tenant,
                                                                   std::string_view request_id) = 0;

  // The newest job of the tenant's with that result key which is open or has succeeded.
  virtual absl::StatusOr<std::optional<std::string>> FindResult(std::string_view tenant,
                                                                std::string_view key) = 0;

  // In order of sequence; at most `limit`, and the page ends once it holds `max_bytes`.
  virtual absl::StatusOr<std::vector<Event>> ListEvents(const Job& job, int64_t after_sequence,
                                                        int limit, int64_t max_bytes) = 0;
  // In order of path, those after `after_path`.
  virtual absl::StatusOr<std::vector<ArtifactFile>> ListArtifactFiles(const Job& job,
                                                                      std::string_view after_path,
                                                                      int limit) = 0;
  // ARTIFACT_NOT_FOUND if there is none.
  virtual absl::StatusOr<ArtifactFile> GetArtifactFile(const Job& job, std::string_view path) = 0;

  virtual absl::StatusOr<std::optional<Task>> FindTask(std::string_view task_id) = 0;
  virtual absl::StatusOr<std::optional<Task>> FindTaskOfJob(std::string_view job_id) = 0;
  // Whose tasks wait for `backend` (by its name, or "any"), in order of name. Costs a step for
  // each.
  virtual absl::StatusOr<std::vector<std::string>> PendingTenants(std::string_view backend) = 0;
  // Of the tenant's that ask for `backend` and at most so much memory: highest priority first, then
  // first come. Costs no more when many wait for another backend.
  virtual absl::StatusOr<std::vector<Task>> PendingTasks(std::string_view backend,
                                                         std::string_view tenant,
                                                         int64_t memory_bytes, int limit) = 0;
  // Tasks under a lease, by tenant.
  virtual absl::StatusOr<std::map<std::string, int64_t>> CountRunningTasks() = 0;
  // Delayed tasks whose time has come.
  virtual absl::StatusOr<std::vector<Task>> DueTasks(absl::Time now, int limit) = 0;
  // Pending tasks with a max_queue_time that has passed.
  virtual absl::StatusOr<std::vector<Task>> OverdueTasks(absl::Time now, int limit) = 0;

  virtual absl::StatusOr<std::optional<Lease>> FindLease(std::string_view task_id) = 0;
  virtual absl::StatusOr<std::optional<Lease>> FindLeaseOfWorker(std::string_view worker) = 0;
  virtual absl::StatusOr<std::vector<Lease>> ExpiredLeases(absl::Time now, int limit) = 0;
  // Whose stuck_time has come.
  virtual absl::StatusOr<std::vector<Lease>> StuckLeases(absl::Time now, int limit) = 0;
  virtual absl::StatusOr<std::vector<Lease>> AllLeases() = 0;

  virtual absl::StatusOr<std::optional<Worker>> FindWorker(std::string_view name) = 0;
  // In order of name.
  virtual absl::StatusOr<std::vector<Worker>> ListWorkers(absl::Time seen_after) = 0;
  // Whether another session has taken the worker's name since.
  virtual absl::StatusOr<bool> HasSessionEnded(std::string_view worker,
                                               std::string_view session) = 0;
};

class StoreTransaction : public StoreReader,
                         public AccessWriter,
                         public UploadWriter,
                         public WebhookWriter {
 public:
  // What tells this store from every other: `fresh`, if it was told nothing before.
  virtual absl::StatusOr<int64_t> TakeIdentity(int64_t fresh) = 0;

  // Sets number. ALREADY_EXISTS if the id is taken.
  virtual absl::Status InsertJob(Job& job, const JobDetail& detail) = 0;
  // Everything but number, id, tenant, labels, method, model, spec and plan.
  virtual absl::Status UpdateJob(const Job& job) = 0;
  virtual absl::Status SetResultDetail(const Job& job, std::string_view result) = 0;
  // With its task, lease, events, files, webhooks and request id. JOB_NOT_FOUND if there is none.
  virtual absl::Status DeleteJob(std::string_view id) = 0;
  // ALREADY_EXISTS if the id is taken.
  virtual absl::Status InsertRequest(const RequestRecord& record) = 0;

  // What identical requests find the job by, as long as there is the job.
  virtual absl::Status InsertResult(const Job& job, std::string_view key) = 0;

  // Gives the event the job's next sequence, and writes both.
  virtual absl::Status AppendEvent(Job& job, Event event) = 0;
  virtual absl::Status PutArtifactFile(const Job& job, const ArtifactFile& file) = 0;
  virtual absl::Status DeleteArtifactFiles(const Job& job) = 0;

  // Sets order.
  virtual absl::Status InsertTask(Task& task) = 0;
  virtual absl::Status UpdateTask(const Task& task) = 0;
  virtual absl::Status PutLease(const Lease& lease) = 0;
  virtual absl::Status DeleteLease(std::string_view task_id) = 0;
  virtual absl::Status PutWorker(const Worker& worker) = 0;
  virtual absl::Status EndSession(std::string_view worker, std::string_view session,
                                  absl::Time now) = 0;
  // Workers and ended sessions not seen since.
  virtual absl::Status ForgetWorkers(absl::Time not_seen_since) = 0;
};

// Thread-safe.
//
// `work` may be run more than once before it is committed: a database may refuse a transaction that
// met another one, which is then rolled back and run again. So it changes nothing but the
// transaction; what it finds and decides it returns (ReadResult, WriteResult below).
class Store {
 public:
  virtual ~Store() = default;
  // Returns what `work` returns, or the store's own error.
  virtual absl::Status Read(const std::function<absl::Status(StoreReader&)>& work) = 0;
  // Commits if `work` returns OK, else leaves everything as it was. Writers take turns.
  virtual absl::Status Write(const std::function<absl::Status(StoreTransaction&)>& work) = 0;

  // Of a store that several servers share: tells the others that something has changed (topics of
  // the EventHub). It may get lost; whoever waits looks from time to time.
  virtual void Announce(const std::vector<std::string>& /*topics*/) {}
  // Calls `heard`, on a thread of the store's, with what other servers announce, until the store
  // goes or StopListening; "": anything may have changed. Call it at most once.
  virtual void Listen(std::function<void(std::string_view topic)> /*heard*/) {}
  // `heard` is not called any more when this returns.
  virtual void StopListening() {}
};

// What `work` returns, a StatusOr, as it was in the run that counts; or the store's own error.
template <typename Work>
std::invoke_result_t<const Work&, StoreReader&> ReadResult(Store& store, const Work& work) {
  std::optional<std::invoke_result_t<const Work&, StoreReader&>> result;
  QD_RETURN_IF_ERROR(store.Read([&](StoreReader& reader) -> absl::Status {
    result.emplace(work(reader));
    return result->status();
  }));
  return *std::move(result);
}

template <typename Work>
std::invoke_result_t<const Work&, StoreTransaction&> WriteResult(Store& store, const Work& work) {
  std::optional<std::invoke_result_t<const Work&, StoreTransaction&>> result;
  QD_RETURN_IF_ERROR(store.Write([&](StoreTransaction& transaction) -> absl::Status {
    result.emplace(work(transaction));
    return result->status();
  }));
  return *std::move(result);
}

}  // namespace quantd
