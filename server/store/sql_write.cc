#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/error.h"
#include "server/store/failure_text.h"
#include "server/store/sql_transaction.h"

namespace quantd {
namespace {

// The text must outlive the statement's use.
void BindFailure(const std::optional<Failure>& failure, const std::string& text,
                 SqlStatement& statement) {
  if (failure.has_value()) {
    statement.Bind(std::string_view(text));
  } else {
    statement.BindNull();
  }
}

std::string TextOf(const std::optional<Failure>& failure) {
  return failure.has_value() ? FailureToText(*failure) : "";
}

}  // namespace

absl::StatusOr<int64_t> SqlTransaction::TakeIdentity(int64_t fresh) {
  {
    QD_ASSIGN_OR_RETURN(
        SqlStatement insert,
        connection_.Prepare("INSERT INTO counters (name, value) VALUES ('identity', ?) "
                            "ON CONFLICT DO NOTHING"));
    QD_RETURN_IF_ERROR(insert.Bind(fresh).Run());
  }
  QD_ASSIGN_OR_RETURN(SqlStatement statement,
                      connection_.Prepare("SELECT value FROM counters WHERE name = 'identity'"));
  QD_RETURN_IF_ERROR(statement.Step().status());
  return statement.Int();
}

absl::Status SqlTransaction::InsertJob(Job& job, const JobDetail& detail) {
  const std::string labels = LabelsToText(job.labels);
  const std::string failure = TextOf(job.failure);
  {
    QD_ASSIGN_OR_RETURN(
        SqlStatement statement,
        connection_.Prepare(
            "INSERT INTO jobs (id, state, method, model, create_time, start_time, end_time, "
            "attempts, last_sequence, worker, labels, failure, spec, plan, progress, result, "
            "tenant) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "
            "RETURNING number"));
    statement.Bind(std::string_view(job.id)).Bind(static_cast<int64_t>(job.state));
    statement.Bind(std::string_view(job.method)).Bind(std::string_view(job.model));
    statement.Bind(job.create_time).Bind(job.start_time).Bind(job.end_time);
    statement.Bind(static_cast<int64_t>(job.attempts)).Bind(job.last_sequence);
    statement.Bind(std::string_view(job.worker)).Bind(std::string_view(labels));
    BindFailure(job.failure, failure, statement);
    statement.BindBlob(job.spec).BindBlob(job.plan).BindBlob(job.progress).BindBlob(job.result);
    statement.Bind(std::string_view(job.tenant));
    QD_RETURN_IF_ERROR(statement.Run());
    job.number = statement.Int();
  }
  QD_ASSIGN_OR_RETURN(
      SqlStatement details,
      connection_.Prepare("INSERT INTO job_details (job, plan, result) VALUES (?, ?, ?)"));
  QD_RETURN_IF_ERROR(details.Bind(job.number).BindBlob(detail.plan).BindBlob(detail.result).Run());
  for (const auto& [key, value] : job.labels) {
    QD_ASSIGN_OR_RETURN(
        SqlStatement label,
        connection_.Prepare("INSERT INTO job_labels (job, key, value) VALUES (?, ?, ?)"));
    QD_RETURN_IF_ERROR(
        label.Bind(job.number).Bind(std::string_view(key)).Bind(std::string_view(value)).Run());
  }
  return absl::OkStatus();
}

absl::Status SqlTransaction::UpdateJob(const Job& job) {
  const std::string failure = TextOf(job.failure);
  QD_ASSIGN_OR_RETURN(
      SqlStatement statement,
      connection_.Prepare("UPDATE jobs SET state = ?, start_time = ?, end_time = ?, attempts = ?, "
                          "last_sequence = ?, worker = ?, failure = ?, progress = ?, result = ? "
                          "WHERE number = ?"));
  statement.Bind(static_cast<int64_t>(job.state)).Bind(job.start_time).Bind(job.end_time);
  statement.Bind(static_cast<int64_t>(job.attempts)).Bind(job.last_sequence);
  statement.Bind(std::string_view(job.worker));
  BindFailure(job.failure, failure, statement);
  statement.BindBlob(job.progress).BindBlob(job.result).Bind(job.number);
  QD_RETURN_IF_ERROR(statement.Run());
  if (connection_.RowsChanged() == 0) {
    return MakeError(Reason::kJobNotFound, "there is no job jobs/" + job.id);
  }
  return absl::OkStatus();
}

absl::Status SqlTransaction::SetResultDetail(const Job& job, std::string_view result) {
  QD_ASSIGN_OR_RETURN(SqlStatement statement,
                      connection_.Prepare("UPDATE job_details SET result = ? WHERE job = ?"));
  return statement.BindBlob(result).Bind(job.number).Run();
}

absl::Status SqlTransaction::DeleteJob(std::string_view id) {
  QD_ASSIGN_OR_RETURN(SqlStatement statement, connection_.Prepare("DELETE FROM jobs WHERE id = ?"));
  QD_RETURN_IF_ERROR(statement.Bind(id).Run());
  if (connection_.RowsChanged() == 0) {
    return NoSuchJob(id);
  }
  return absl::OkStatus();
}

absl::Status SqlTransaction::InsertRequest(const RequestRecord& record) {
  QD_ASSIGN_OR_RETURN(
      SqlStatement statement,
      connection_.Prepare("INSERT INTO requests (tenant, request_id, job, job_id, body_sha256) "
                          "SELECT ?, ?, number, id, ? FROM jobs WHERE id = ?"));
  return statement.Bind(std::string_view(record.tenant))
      .Bind(std::string_view(record.request_id))
      .Bind(std::string_view(record.body_sha256))
      .Bind(std::string_view(record.job_id))
      .Run();
}

absl::Status SqlTransaction::InsertResult(const Job& job, std::string_view key) {
  QD_ASSIGN_OR_RETURN(
      SqlStatement statement,
      connection_.Prepare("INSERT INTO results (tenant, key, job) VALUES (?, ?, ?)"));
  return statement.Bind(std::string_view(job.tenant)).Bind(key).Bind(job.number).Run();
}

absl::Status SqlTransaction::AppendEvent(Job& job, Event event) {
  event.sequence = ++job.last_sequence;
  const std::string failure = TextOf(event.failure);
  {
    QD_ASSIGN_OR_RETURN(
        SqlStatement statement,
        connection_.Prepare("INSERT INTO events (job, sequence, time, attempt, kind, state, "
                            "worker, failure, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"));
    statement.Bind(job.number).Bind(event.sequence).Bind(event.time);
    statement.Bind(static_cast<int64_t>(event.attempt)).Bind(static_cast<int64_t>(event.kind));
    statement.Bind(static_cast<int64_t>(event.state)).Bind(std::string_view(event.worker));
    BindFailure(event.failure, failure, statement);
    statement.BindBlob(event.body);
    QD_RETURN_IF_ERROR(statement.Run());
  }
  QD_ASSIGN_OR_RETURN(SqlStatement update,
                      connection_.Prepare("UPDATE jobs SET last_sequence = ? WHERE number = ?"));
  return update.Bind(job.last_sequence).Bind(job.number).Run();
}

absl::Status SqlTransaction::PutArtifactFile(const Job& job, const ArtifactFile& file) {
  static const std::string kSql =
      UpsertSql("artifact_files", {"job", "path"}, {"bytes", "sha256", "blob"});
  QD_ASSIGN_OR_RETURN(SqlStatement statement, connection_.Prepare(kSql));
  return statement.Bind(job.number)
      .Bind(std::string_view(file.path))
      .Bind(file.bytes)
      .Bind(std::string_view(file.sha256))
      .Bind(std::string_view(file.blob))
      .Run();
}

absl::Status SqlTransaction::DeleteArtifactFiles(const Job& job) {
  QD_ASSIGN_OR_RETURN(SqlStatement statement,
                      connection_.Prepare("DELETE FROM artifact_files WHERE job = ?"));
  return statement.Bind(job.number).Run();
}

absl::Status SqlTransaction::InsertTask(Task& task) {
  {
    QD_ASSIGN_OR_RETURN(
        SqlStatement statement,
        connection_.Prepare(
            "INSERT INTO tasks (id, job, job_id, state, priority, queued_time, fencing_token, "
            "failures, backend, memory_bytes, max_run_time, tenant, not_before, sealed_parts, "
            "failed_attempts, stall_limit, max_queue_time, queue_deadline) "
            "SELECT ?, number, id, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ? "
            "FROM jobs WHERE id = ? RETURNING number"));
    const std::string failed_attempts = ViolationsToText(task.failed_attempts);
    statement.Bind(std::string_view(task.id)).Bind(static_cast<int64_t>(task.state));
    statement.Bind(static_cast<int64_t>(task.priority)).Bind(task.queued_time);
    statement.Bind(task.fencing_token).Bind(static_cast<int64_t>(task.failures));
    statement.Bind(std::string_view(task.backend)).Bind(task.memory_bytes);
    statement.Bind(absl::ToInt64Microseconds(task.max_run_time));
    statement.Bind(std::string_view(task.tenant)).Bind(task.not_before).Bind(task.sealed_parts);
    statement.Bind(std::string_view(failed_attempts));
    statement.Bind(absl::ToInt64Microseconds(task.stall_limit));
    if (task.max_queue_time.has_value()) {
      statement.Bind(absl::ToInt64Microseconds(*task.max_queue_time));
      statement.Bind(task.queued_time + *task.max_queue_time);
    } else {
      statement.BindNull().BindNull();
    }
    QD_RETURN_IF_ERROR(statement.Bind(std::string_view(task.job_id)).Run());
    task.order = statement.Int();
  }
  return absl::OkStatus();
}

absl::Status SqlTransaction::UpdateTask(const Task& task) {
  QD_ASSIGN_OR_RETURN(
      SqlStatement statement,
      connection_.Prepare("UPDATE tasks SET state = ?, queued_time = ?, fencing_token = ?, "
                          "failures = ?, not_before = ?, sealed_parts = ?, failed_attempts = ?, "
                          "queue_deadline = ? WHERE id = ?"));
  const std::string failed_attempts = ViolationsToText(task.failed_attempts);
  statement.Bind(static_cast<int64_t>(task.state)).Bind(task.queued_time);
  statement.Bind(task.fencing_token).Bind(static_cast<int64_t>(task.failures));
  statement.Bind(task.not_before).Bind(task.sealed_parts).Bind(std::string_view(failed_attempts));
  if (task.max_queue_time.has_value()) {
    statement.Bind(task.queued_time + *task.max_queue_time);
  } else {
    statement.BindNull();
  }
  return statement.Bind(std::string_view(task.id)).Run();
}

absl::Status SqlTransaction::PutLease(const Lease& lease) {
  static const std::string kSql =
      UpsertSql("leases", {"task_id"},
                {"job_id", "worker", "session", "fencing_token", "expire_time",
                 "acknowledged_event", "reported", "sealed_parts", "stuck_time"});
  QD_ASSIGN_OR_RETURN(SqlStatement statement, connection_.Prepare(kSql));
  return statement.Bind(std::string_view(lease.task_id))
      .Bind(std::string_view(lease.job_id))
      .Bind(std::string_view(lease.worker))
      .Bind(std::string_view(lease.session))
      .Bind(lease.fencing_token)
      .Bind(lease.expire_time)
      .Bind(lease.acknowledged_event)
      .Bind(static_cast<int64_t>(lease.reported))
      .Bind(lease.sealed_parts)
      .Bind(lease.stuck_time)
      .Run();
}

absl::Status SqlTransaction::DeleteLease(std::string_view task_id) {
  QD_ASSIGN_OR_RETURN(SqlStatement statement,
                      connection_.Prepare("DELETE FROM leases WHERE task_id = ?"));
  return statement.Bind(task_id).Run();
}

absl::Status SqlTransaction::PutWorker(const Worker& worker) {
  const std::string backends = absl::StrJoin(worker.backends, ",");
  static const std::string kSql =
      UpsertSql("workers", {"name"},
                {"session", "last_seen", "backends", "threads", "memory_bytes", "free_memory_bytes",
                 "engine_version", "isa", "draining", "drain_asked"});
  QD_ASSIGN_OR_RETURN(SqlStatement statement, connection_.Prepare(kSql));
  return statement.Bind(std::string_view(worker.name))
      .Bind(std::string_view(worker.session))
      .Bind(worker.last_seen)
      .Bind(std::string_view(backends))
      .Bind(static_cast<int64_t>(worker.threads))
      .Bind(worker.memory_bytes)
      .Bind(worker.free_memory_bytes)
      .Bind(std::string_view(worker.engine_version))
      .Bind(std::string_view(worker.isa))
      .Bind(static_cast<int64_t>(worker.draining))
      .Bind(static_cast<int64_t>(worker.drain_asked))
      .Run();
}

absl::Status SqlTransaction::EndSession(std::string_view worker, std::string_view session,
                                        absl::Time now) {
  static const std::string kSql = UpsertSql("ended_sessions", {"worker", "session"}, {"time"});
  QD_ASSIGN_OR_RETURN(SqlStatement statement, connection_.Prepare(kSql));
  return statement.Bind(worker).Bind(session).Bind(now).Run();
}

absl::Status SqlTransaction::ForgetWorkers(absl::Time not_seen_since) {
  QD_ASSIGN_OR_RETURN(SqlStatement workers,
                      connection_.Prepare("DELETE FROM workers WHERE last_seen < ? AND name NOT IN "
                                          "(SELECT worker FROM leases)"));
  QD_RETURN_IF_ERROR(workers.Bind(not_seen_since).Run());
  QD_RETURN_IF_ERROR(connection_.Execute(
      "DELETE FROM worker_owners WHERE worker NOT IN (SELECT name FROM workers)"));
  QD_ASSIGN_OR_RETURN(SqlStatement sessions,
                      connection_.Prepare("DELETE FROM ended_sessions WHERE time < ?"));
  return sessions.Bind(not_seen_since).Run();
}

}  // namespace quantd
