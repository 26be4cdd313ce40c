#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/error.h"
#include "server/store/failure_text.h"
#include "server/store/sql_transaction.h"

namespace quantd {
namespace {

constexpr char kTaskColumns[] =
    "id, job_id, state, priority, queued_time, number, fencing_token, failures, backend, "
    "memory_bytes, max_run_time, tenant, not_before, sealed_parts, failed_attempts, stall_limit, "
    "max_queue_time";
constexpr char kLeaseColumns[] =
    "task_id, job_id, worker, session, fencing_token, expire_time, acknowledged_event, "
    "reported, sealed_parts, stuck_time";
constexpr char kWorkerColumns[] =
    "name, session, last_seen, backends, threads, memory_bytes, free_memory_bytes, "
    "engine_version, isa, draining, drain_asked";

template <typename Row>
std::optional<Row> FirstOf(std::vector<Row> rows) {
  if (rows.empty()) return std::nullopt;
  return std::move(rows.front());
}

}  // namespace

absl::StatusOr<std::vector<Task>> SqlTransaction::ReadTasks(SqlStatement& statement) {
  std::vector<Task> tasks;
  while (true) {
    QD_ASSIGN_OR_RETURN(const bool found, statement.Step());
    if (!found) return tasks;
    Task task;
    task.id = statement.Text();
    task.job_id = statement.Text();
    task.state = static_cast<TaskState>(statement.Int());
    task.priority = static_cast<int>(statement.Int());
    task.queued_time = statement.Time();
    task.order = statement.Int();
    task.fencing_token = statement.Int();
    task.failures = static_cast<int>(statement.Int());
    task.backend = statement.Text();
    task.memory_bytes = statement.Int();
    task.max_run_time = absl::Microseconds(statement.Int());
    task.tenant = statement.Text();
    task.not_before = statement.Time();
    task.sealed_parts = statement.Int();
    QD_ASSIGN_OR_RETURN(task.failed_attempts, ViolationsFromText(statement.Text()));
    task.stall_limit = absl::Microseconds(statement.Int());
    if (!statement.NextIsNull()) task.max_queue_time = absl::Microseconds(statement.Int());
    tasks.push_back(std::move(task));
  }
}

absl::StatusOr<std::vector<Lease>> SqlTransaction::ReadLeases(SqlStatement& statement) {
  std::vector<Lease> leases;
  while (true) {
    QD_ASSIGN_OR_RETURN(const bool found, statement.Step());
    if (!found) return leases;
    Lease lease;
    lease.task_id = statement.Text();
    lease.job_id = statement.Text();
    lease.worker = statement.Text();
    lease.session = statement.Text();
    lease.fencing_token = statement.Int();
    lease.expire_time = statement.Time();
    lease.acknowledged_event = statement.Int();
    lease.reported = statement.Int() != 0;
    lease.sealed_parts = statement.Int();
    lease.stuck_time = statement.Time();
    leases.push_back(std::move(lease));
  }
}

absl::StatusOr<std::vector<Worker>> SqlTransaction::ReadWorkers(SqlStatement& statement) {
  std::vector<Worker> workers;
  while (true) {
    QD_ASSIGN_OR_RETURN(const bool found, statement.Step());
    if (!found) return workers;
    Worker worker;
    worker.name = statement.Text();
    worker.session = statement.Text();
    worker.last_seen = statement.Time();
    const std::string backends = statement.Text();
    if (!backends.empty()) worker.backends = absl::StrSplit(backends, ',');
    worker.threads = static_cast<int>(statement.Int());
    worker.memory_bytes = statement.Int();
    worker.free_memory_bytes = statement.Int();
    worker.engine_version = statement.Text();
    worker.isa = statement.Text();
    worker.draining = statement.Int() != 0;
    worker.drain_asked = statement.Int() != 0;
    workers.push_back(std::move(worker));
  }
}

absl::StatusOr<std::optional<Task>> SqlTransaction::FindTask(std::string_view task_id) {
  static const std::string kSql = absl::StrCat("SELECT ", kTaskColumns, " FROM tasks WHERE id = ?");
  QD_ASSIGN_OR_RETURN(SqlStatement statement, connection_.Prepare(kSql));
  QD_ASSIGN_OR_RETURN(auto tasks, ReadTasks(statement.Bind(task_id)));
  return FirstOf(std::move(tasks));
}

absl::StatusOr<std::optional<Task>> SqlTransaction::FindTaskOfJob(std::string_view job_id) {
  static const std::string kSql =
      absl::StrCat("SELECT ", kTaskColumns, " FROM tasks WHERE job_id = ?");
  QD_ASSIGN_OR_RETURN(SqlStatement statement, connection_.Prepare(kSql));
  QD_ASSIGN_OR_RETURN(auto tasks, ReadTasks(statement.Bind(job_id)));
  return FirstOf(std::move(tasks));
}

// From one tenant to the next in the index, rather than over all of their tasks.
absl::StatusOr<std::vector<std::string>> SqlTransaction::PendingTenants(std::string_view backend) {
  std::vector<std::string> tenants;
  std::string last;
  while (true) {
    QD_ASSIGN_OR_RETURN(
        SqlStatement statement,
        connection_.Prepare("SELECT tenant FROM tasks WHERE state = 0 AND backend = ? "
                            "AND tenant > ? ORDER BY tenant LIMIT 1"));
    QD_ASSIGN_OR_RETURN(const bool found,
                        statement.Bind(backend).Bind(std::string_view(last)).Step());
    if (!found) return tenants;
    last = tenants.emplace_back(statement.Text());
  }
}

absl::StatusOr<std::vector<Task>> SqlTransaction::PendingTasks(std::string_view backend,
                                                               std::string_view tenant,
                                                               int64_t memory_bytes, int limit) {
  static const std::string kSql = absl::StrCat(
      "SELECT ", kTaskColumns,
      " FROM tasks WHERE state = 0 AND backend = ? AND tenant = ? AND memory_bytes <= ? "
      "ORDER BY priority DESC, number LIMIT ?");
  QD_ASSIGN_OR_RETURN(SqlStatement statement, connection_.Prepare(kSql));
  return ReadTasks(
      statement.Bind(backend).Bind(tenant).Bind(memory_bytes).Bind(static_cast<int64_t>(limit)));
}

absl::StatusOr<std::map<std::string, int64_t>> SqlTransaction::CountRunningTasks() {
  QD_ASSIGN_OR_RETURN(SqlStatement statement,
                      connection_.Prepare("SELECT tenant, COUNT(*) FROM tasks WHERE state = 1 "
                                          "GROUP BY tenant"));
  std::map<std::string, int64_t> running;
  while (true) {
    QD_ASSIGN_OR_RETURN(const bool found, statement.Step());
    if (!found) return running;
    std::string tenant = statement.Text();
    running[std::move(tenant)] = statement.Int();
  }
}

absl::StatusOr<std::vector<Task>> SqlTransaction::DueTasks(absl::Time now, int limit) {
  static const std::string kSql =
      absl::StrCat("SELECT ", kTaskColumns,
                   " FROM tasks WHERE state = 3 AND not_before <= ? ORDER BY not_before LIMIT ?");
  QD_ASSIGN_OR_RETURN(SqlStatement statement, connection_.Prepare(kSql));
  return ReadTasks(statement.Bind(now).Bind(static_cast<int64_t>(limit)));
}

absl::StatusOr<std::vector<Task>> SqlTransaction::OverdueTasks(absl::Time now, int limit) {
  static const std::string kSql =
      absl::StrCat("SELECT ", kTaskColumns,
                   " FROM tasks WHERE state = 0 AND queue_deadline IS NOT NULL AND "
                   "queue_deadline <= ? ORDER BY queue_deadline LIMIT ?");
  QD_ASSIGN_OR_RETURN(SqlStatement statement, connection_.Prepare(kSql));
  return ReadTasks(statement.Bind(now).Bind(static_cast<int64_t>(limit)));
}

absl::StatusOr<std::optional<Lease>> SqlTransaction::FindLease(std::string_view task_id) {
  static const std::string kSql =
      absl::StrCat("SELECT ", kLeaseColumns, " FROM leases WHERE task_id = ?");
  QD_ASSIGN_OR_RETURN(SqlStatement statement, connection_.Prepare(kSql));
  QD_ASSIGN_OR_RETURN(auto leases, ReadLeases(statement.Bind(task_id)));
  return FirstOf(std::move(leases));
}

absl::StatusOr<std::optional<Lease>> SqlTransaction::FindLeaseOfWorker(std::string_view worker) {
  static const std::string kSql =
      absl::StrCat("SELECT ", kLeaseColumns, " FROM leases WHERE worker = ?");
  QD_ASSIGN_OR_RETURN(SqlStatement statement, connection_.Prepare(kSql));
  QD_ASSIGN_OR_RETURN(auto leases, ReadLeases(statement.Bind(worker)));
  return FirstOf(std::move(leases));
}

absl::StatusOr<std::vector<Lease>> SqlTransaction::ExpiredLeases(absl::Time now, int limit) {
  static const std::string kSql = absl::StrCat(
      "SELECT ", kLeaseColumns, " FROM leases WHERE expire_time <= ? ORDER BY expire_time LIMIT ?");
  QD_ASSIGN_OR_RETURN(SqlStatement statement, connection_.Prepare(kSql));
  return ReadLeases(statement.Bind(now).Bind(static_cast<int64_t>(limit)));
}

absl::StatusOr<std::vector<Lease>> SqlTransaction::StuckLeases(absl::Time now, int limit) {
  static const std::string kSql = absl::StrCat(
      "SELECT ", kLeaseColumns, " FROM leases WHERE stuck_time <= ? ORDER BY stuck_time LIMIT ?");
  QD_ASSIGN_OR_RETURN(SqlStatement statement, connection_.Prepare(kSql));
  return ReadLeases(statement.Bind(now).Bind(static_cast<int64_t>(limit)));
}

absl::StatusOr<std::vector<Lease>> SqlTransaction::AllLeases() {
  static const std::string kSql = absl::StrCat("SELECT ", kLeaseColumns, " FROM leases");
  QD_ASSIGN_OR_RETURN(SqlStatement statement, connection_.Prepare(kSql));
  return ReadLeases(statement);
}

absl::StatusOr<std::optional<Worker>> SqlTransaction::FindWorker(std::string_view name) {
  static const std::string kSql =
      absl::StrCat("SELECT ", kWorkerColumns, " FROM workers WHERE name = ?");
  QD_ASSIGN_OR_RETURN(SqlStatement statement, connection_.Prepare(kSql));
  QD_ASSIGN_OR_RETURN(auto workers, ReadWorkers(statement.Bind(name)));
  return FirstOf(std::move(workers));
}

absl::StatusOr<std::vector<Worker>> SqlTransaction::ListWorkers(absl::Time seen_after) {
  static const std::string kSql =
      absl::StrCat("SELECT ", kWorkerColumns, " FROM workers WHERE last_seen > ? ORDER BY name");
  QD_ASSIGN_OR_RETURN(SqlStatement statement, connection_.Prepare(kSql));
  return ReadWorkers(statement.Bind(seen_after));
}

absl::StatusOr<bool> SqlTransaction::HasSessionEnded(std::string_view worker,
                                                     std::string_view session) {
  QD_ASSIGN_OR_RETURN(
      SqlStatement statement,
      connection_.Prepare("SELECT 1 FROM ended_sessions WHERE worker = ? AND session = ?"));
  return statement.Bind(worker).Bind(session).Step();
}

}  // namespace quantd
