// The statements of the SQLite store, on one connection, within a transaction that its owner began.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "server/store/sql.h"
#include "server/store/store.h"

namespace quantd {

class SqlTransaction final : public StoreTransaction {
 public:
  explicit SqlTransaction(SqlConnection& connection) : connection_(connection) {}

  // Reading: sql_read.cc, sql_list_jobs.cc.
  absl::StatusOr<Job> GetJob(std::string_view id) override;
  absl::StatusOr<JobDetail> GetJobDetail(const Job& job) override;
  absl::StatusOr<JobPage> ListJobs(const JobQuery& query) override;
  absl::StatusOr<int64_t> CountPendingTasks() override;
  absl::StatusOr<int64_t> CountPendingTasksOf(std::string_view tenant) override;
  absl::StatusOr<int64_t> CountOpenJobs() override;
  absl::StatusOr<std::vector<JobCount>> CountJobs() override;
  absl::StatusOr<std::vector<std::string>> JobsEndedBy(absl::Time time, int limit) override;
  absl::StatusOr<std::optional<RequestRecord>> FindRequest(std::string_view tenant,
                                                           std::string_view request_id) override;
  absl::StatusOr<std::optional<std::string>> FindResult(std::string_view tenant,
                                                        std::string_view key) override;
  absl::StatusOr<std::vector<Event>> ListEvents(const Job& job, int64_t after_sequence, int limit,
                                                int64_t max_bytes) override;
  absl::StatusOr<std::vector<ArtifactFile>> ListArtifactFiles(const Job& job,
                                                              std::string_view after_path,
                                                              int limit) override;
  absl::StatusOr<ArtifactFile> GetArtifactFile(const Job& job, std::string_view path) override;

  // Reading tasks, leases and workers: sql_read_tasks.cc.
  absl::StatusOr<std::optional<Task>> FindTask(std::string_view task_id) override;
  absl::StatusOr<std::optional<Task>> FindTaskOfJob(std::string_view job_id) override;
  absl::StatusOr<std::vector<std::string>> PendingTenants(std::string_view backend) override;
  absl::StatusOr<std::vector<Task>> PendingTasks(std::string_view backend, std::string_view tenant,
                                                 int64_t memory_bytes, int limit) override;
  absl::StatusOr<std::map<std::string, int64_t>> CountRunningTasks() override;
  absl::StatusOr<std::vector<Task>> DueTasks(absl::Time now, int limit) override;
  absl::StatusOr<std::vector<Task>> OverdueTasks(absl::Time now, int limit) override;
  absl::StatusOr<std::optional<Lease>> FindLease(std::string_view task_id) override;
  absl::StatusOr<std::optional<Lease>> FindLeaseOfWorker(std::string_view worker) override;
  absl::StatusOr<std::vector<Lease>> ExpiredLeases(absl::Time now, int limit) override;
  absl::StatusOr<std::vector<Lease>> StuckLeases(absl::Time now, int limit) override;
  absl::StatusOr<std::vector<Lease>> AllLeases() override;
  absl::StatusOr<std::optional<Worker>> FindWorker(std::string_view name) override;
  absl::StatusOr<std::vector<Worker>> ListWorkers(absl::Time seen_after) override;
  absl::StatusOr<bool> HasSessionEnded(std::string_view worker, std::string_view session) override;

  // Who may do what: sql_access.cc.
  absl::StatusOr<Job> GetJobIn(const TenantScope& scope, std::string_view id) override;
  absl::StatusOr<std::optional<Token>> FindToken(std::string_view digest) override;
  absl::StatusOr<std::vector<Token>> ListTokens() override;
  absl::StatusOr<bool> HasTokens() override;
  absl::StatusOr<std::optional<std::string>> FindWorkerOwner(std::string_view worker) override;
  absl::Status InsertToken(const Token& token) override;
  absl::StatusOr<bool> RevokeToken(std::string_view id, absl::Time now) override;
  absl::Status NoteTokenUse(std::string_view id, absl::Time now) override;
  absl::Status PutWorkerOwner(std::string_view worker, std::string_view owner) override;

  // What users have uploaded: sql_uploads.cc.
  absl::StatusOr<std::optional<Upload>> FindUpload(std::string_view tenant,
                                                   std::string_view name) override;
  absl::StatusOr<std::vector<Upload>> ListUploads(std::string_view tenant,
                                                  std::string_view collection,
                                                  std::string_view after, int limit) override;
  absl::StatusOr<std::vector<Upload>> StaleUploads(absl::Time changed_before, int limit) override;
  absl::StatusOr<std::optional<Content>> FindContent(std::string_view tenant,
                                                     std::string_view sha256) override;
  absl::StatusOr<int64_t> UploadedBytes(std::string_view tenant) override;
  absl::StatusOr<bool> IsBlobOfContent(std::string_view blob) override;
  absl::StatusOr<std::optional<std::string>> OpenJobUsing(std::string_view tenant,
                                                          std::string_view name) override;
  absl::Status InsertUpload(const Upload& upload) override;
  absl::Status UpdateUpload(const Upload& upload) override;
  absl::StatusOr<std::vector<Content>> DeleteUpload(std::string_view tenant,
                                                    std::string_view name) override;
  absl::Status PutContent(const Content& content) override;
  absl::Status PutUploadUse(std::string_view tenant, std::string_view name,
                            int64_t job_number) override;

  // Whom to tell: sql_webhooks.cc.
  absl::StatusOr<std::vector<Webhook>> ListWebhooks(const Job& job) override;
  absl::StatusOr<std::vector<Delivery>> ListDeliveries(const Job& job, int64_t after,
                                                       int limit) override;
  absl::StatusOr<std::vector<Delivery>> DueDeliveries(absl::Time now, int limit) override;
  absl::Status AddWebhook(const Job& job, const Webhook& webhook) override;
  absl::Status InsertDelivery(const Job& job, Delivery& delivery) override;
  absl::Status UpdateDelivery(const Delivery& delivery) override;

  // Writing: sql_write.cc.
  absl::StatusOr<int64_t> TakeIdentity(int64_t fresh) override;
  absl::Status InsertJob(Job& job, const JobDetail& detail) override;
  absl::Status UpdateJob(const Job& job) override;
  absl::Status SetResultDetail(const Job& job, std::string_view result) override;
  absl::Status DeleteJob(std::string_view id) override;
  absl::Status InsertRequest(const RequestRecord& record) override;
  absl::Status InsertResult(const Job& job, std::string_view key) override;
  absl::Status AppendEvent(Job& job, Event event) override;
  absl::Status PutArtifactFile(const Job& job, const ArtifactFile& file) override;
  absl::Status DeleteArtifactFiles(const Job& job) override;
  absl::Status InsertTask(Task& task) override;
  absl::Status UpdateTask(const Task& task) override;
  absl::Status PutLease(const Lease& lease) override;
  absl::Status DeleteLease(std::string_view task_id) override;
  absl::Status PutWorker(const Worker& worker) override;
  absl::Status EndSession(std::string_view worker, std::string_view session,
                          absl::Time now) override;
  absl::Status ForgetWorkers(absl::Time not_seen_since) override;

 private:
  absl::StatusOr<std::vector<Task>> ReadTasks(SqlStatement& statement);
  absl::StatusOr<std::vector<Lease>> ReadLeases(SqlStatement& statement);
  absl::StatusOr<std::vector<Worker>> ReadWorkers(SqlStatement& statement);
  absl::Status ReadUploadFiles(Upload& upload);
  absl::StatusOr<std::vector<Delivery>> ReadDeliveries(SqlStatement& statement);

  SqlConnection& connection_;
};

// The columns of a job, in the order in which ReadJob takes them.
inline constexpr char kJobColumns[] =
    "number, id, state, method, model, create_time, start_time, end_time, attempts, last_sequence, "
    "worker, labels, "
    "failure, spec, plan, progress, result, tenant";
absl::StatusOr<Job> ReadJob(SqlStatement& row);
absl::Status NoSuchJob(std::string_view id);

}  // namespace quantd
