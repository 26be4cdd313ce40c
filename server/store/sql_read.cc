#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "server/store/failure_text.h"
#include "server/store/sql_transaction.h"

namespace quantd {
namespace {

absl::StatusOr<std::optional<Failure>> ReadFailure(SqlStatement& row) {
  if (row.NextIsNull()) {
    row.Skip();
    return std::optional<Failure>();
  }
  QD_ASSIGN_OR_RETURN(Failure failure, FailureFromText(row.Text()));
  return std::optional<Failure>(std::move(failure));
}

absl::StatusOr<int64_t> ReadNumber(SqlConnection& connection, const std::string& sql) {
  QD_ASSIGN_OR_RETURN(SqlStatement statement, connection.Prepare(sql));
  QD_RETURN_IF_ERROR(statement.Step().status());
  return statement.Int();
}

}  // namespace

absl::StatusOr<Job> ReadJob(SqlStatement& row) {
  Job job;
  job.number = row.Int();
  job.id = row.Text();
  job.state = static_cast<JobState>(row.Int());
  job.method = row.Text();
  job.model = row.Text();
  job.create_time = row.Time();
  job.start_time = row.OptionalTime();
  job.end_time = row.OptionalTime();
  job.attempts = static_cast<int>(row.Int());
  job.last_sequence = row.Int();
  job.worker = row.Text();
  QD_ASSIGN_OR_RETURN(job.labels, LabelsFromText(row.Text()));
  QD_ASSIGN_OR_RETURN(job.failure, ReadFailure(row));
  job.spec = row.Text();
  job.plan = row.Text();
  job.progress = row.Text();
  job.result = row.Text();
  job.tenant = row.Text();
  return job;
}

absl::Status NoSuchJob(std::string_view id) {
  return MakeError(Reason::kJobNotFound, absl::StrCat("there is no job jobs/", ToAbsl(id)));
}

absl::StatusOr<Job> SqlTransaction::GetJob(std::string_view id) {
  static const std::string kSql = absl::StrCat("SELECT ", kJobColumns, " FROM jobs WHERE id = ?");
  QD_ASSIGN_OR_RETURN(SqlStatement statement, connection_.Prepare(kSql));
  QD_ASSIGN_OR_RETURN(const bool found, statement.Bind(id).Step());
  if (!found) return NoSuchJob(id);
  return ReadJob(statement);
}

absl::StatusOr<JobDetail> SqlTransaction::GetJobDetail(const Job& job) {
  QD_ASSIGN_OR_RETURN(SqlStatement statement,
                      connection_.Prepare("SELECT plan, result FROM job_details WHERE job = ?"));
  QD_ASSIGN_OR_RETURN(const bool found, statement.Bind(job.number).Step());
  if (!found) return JobDetail{};
  JobDetail detail;
  detail.plan = statement.Text();
  detail.result = statement.Text();
  return detail;
}

absl::StatusOr<int64_t> SqlTransaction::CountPendingTasks() {
  return ReadNumber(connection_, "SELECT value FROM counters WHERE name = 'pending_tasks'");
}

absl::StatusOr<int64_t> SqlTransaction::CountPendingTasksOf(std::string_view tenant) {
  QD_ASSIGN_OR_RETURN(SqlStatement statement,
                      connection_.Prepare("SELECT tasks FROM pending_of_tenants WHERE tenant = ?"));
  QD_ASSIGN_OR_RETURN(const bool found, statement.Bind(tenant).Step());
  return found ? statement.Int() : 0;
}

absl::StatusOr<std::vector<std::string>> SqlTransaction::JobsEndedBy(absl::Time time, int limit) {
  QD_ASSIGN_OR_RETURN(SqlStatement statement,
                      connection_.Prepare("SELECT id FROM jobs WHERE end_time IS NOT NULL AND "
                                          "end_time <= ? ORDER BY end_time LIMIT ?"));
  statement.Bind(time).Bind(static_cast<int64_t>(limit));
  std::vector<std::string> ids;
  while (true) {
    QD_ASSIGN_OR_RETURN(const bool found, statement.Step());
    if (!found) return ids;
    ids.push_back(statement.Text());
  }
}

absl::StatusOr<int64_t> SqlTransaction::CountOpenJobs() {
  return ReadNumber(connection_, "SELECT value FROM counters WHERE name = 'open_jobs'");
}

absl::StatusOr<std::vector<JobCount>> SqlTransaction::CountJobs() {
  QD_ASSIGN_OR_RETURN(
      SqlStatement statement,
      connection_.Prepare("SELECT state, method, COUNT(*) FROM jobs GROUP BY state, method"));
  std::vector<JobCount> counts;
  while (true) {
    QD_ASSIGN_OR_RETURN(const bool found, statement.Step());
    if (!found) return counts;
    JobCount count;
    count.state = static_cast<JobState>(statement.Int());
    count.method = statement.Text();
    count.jobs = statement.Int();
    counts.push_back(std::move(count));
  }
}

absl::StatusOr<std::optional<RequestRecord>> SqlTransaction::FindRequest(
    std::string_view tenant, std::string_view request_id) {
  QD_ASSIGN_OR_RETURN(SqlStatement statement,
                      connection_.Prepare("SELECT job_id, body_sha256 FROM requests "
                                          "WHERE tenant = ? AND request_id = ?"));
  QD_ASSIGN_OR_RETURN(const bool found, statement.Bind(tenant).Bind(request_id).Step());
  if (!found) return std::optional<RequestRecord>();
  RequestRecord record{.tenant = std::string(tenant),
                       .request_id = std::string(request_id),
                       .job_id = "",
                       .body_sha256 = ""};
  record.job_id = statement.Text();
  record.body_sha256 = statement.Text();
  return std::optional(std::move(record));
}

absl::StatusOr<std::optional<std::string>> SqlTransaction::FindResult(std::string_view tenant,
                                                                      std::string_view key) {
  QD_ASSIGN_OR_RETURN(
      SqlStatement statement,
      connection_.Prepare("SELECT jobs.id FROM results JOIN jobs ON jobs.number = job "
                          "WHERE results.tenant = ? AND key = ? AND state IN (0, 1, 3) "
                          "ORDER BY job DESC LIMIT 1"));
  QD_ASSIGN_OR_RETURN(const bool found, statement.Bind(tenant).Bind(key).Step());
  if (!found) return std::optional<std::string>();
  return std::optional<std::string>(statement.Text());
}

absl::StatusOr<std::vector<Event>> SqlTransaction::ListEvents(const Job& job,
                                                              int64_t after_sequence, int limit,
                                                              int64_t max_bytes) {
  QD_ASSIGN_OR_RETURN(
      SqlStatement statement,
      connection_.Prepare(
          "SELECT sequence, time, attempt, kind, state, worker, failure, body FROM events "
          "WHERE job = ? AND sequence > ? ORDER BY sequence LIMIT ?"));
  statement.Bind(job.number).Bind(after_sequence).Bind(static_cast<int64_t>(limit));
  std::vector<Event> events;
  int64_t bytes = 0;
  while (bytes < max_bytes) {
    QD_ASSIGN_OR_RETURN(const bool found, statement.Step());
    if (!found) break;
    Event event;
    event.sequence = statement.Int();
    event.time = statement.Time();
    event.attempt = static_cast<int>(statement.Int());
    event.kind = static_cast<Event::Kind>(statement.Int());
    event.state = static_cast<JobState>(statement.Int());
    event.worker = statement.Text();
    QD_ASSIGN_OR_RETURN(event.failure, ReadFailure(statement));
    event.body = statement.Text();
    bytes += static_cast<int64_t>(event.body.size());
    events.push_back(std::move(event));
  }
  return events;
}

absl::StatusOr<std::vector<ArtifactFile>> SqlTransaction::ListArtifactFiles(
    const Job& job, std::string_view after_path, int limit) {
  QD_ASSIGN_OR_RETURN(SqlStatement statement,
                      connection_.Prepare("SELECT path, bytes, sha256, blob FROM artifact_files "
                                          "WHERE job = ? AND path > ? ORDER BY path LIMIT ?"));
  statement.Bind(job.number).Bind(after_path).Bind(static_cast<int64_t>(limit));
  std::vector<ArtifactFile> files;
  while (true) {
    QD_ASSIGN_OR_RETURN(const bool found, statement.Step());
    if (!found) return files;
    ArtifactFile file;
    file.path = statement.Text();
    file.bytes = statement.Int();
    file.sha256 = statement.Text();
    file.blob = statement.Text();
    files.push_back(std::move(file));
  }
}

absl::StatusOr<ArtifactFile> SqlTransaction::GetArtifactFile(const Job& job,
                                                             std::string_view path) {
  QD_ASSIGN_OR_RETURN(
      SqlStatement statement,
      connection_.Prepare(
          "SELECT path, bytes, sha256, blob FROM artifact_files WHERE job = ? AND path = ?"));
  QD_ASSIGN_OR_RETURN(const bool found, statement.Bind(job.number).Bind(path).Step());
  if (!found) {
    return MakeError(Reason::kArtifactNotFound,
                     absl::StrCat("jobs/", job.id, " has no file ", ToAbsl(path)));
  }
  ArtifactFile file;
  file.path = statement.Text();
  file.bytes = statement.Int();
  file.sha256 = statement.Text();
  file.blob = statement.Text();
  return file;
}

}  // namespace quantd
