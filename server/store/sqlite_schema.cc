#include "server/store/schema.h"

namespace quantd {
namespace {

// Times are microseconds since 1970. States and kinds are the values of the enums in server/job.h.
constexpr const char* kMigrations[] = {R"sql(
CREATE TABLE jobs (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL UNIQUE,
  state INTEGER NOT NULL,
  method TEXT NOT NULL,
  model TEXT NOT NULL,
  create_time INTEGER NOT NULL,
  start_time INTEGER,
  end_time INTEGER,
  attempts INTEGER NOT NULL,
  last_sequence INTEGER NOT NULL,
  worker TEXT NOT NULL,
  labels TEXT NOT NULL,
  failure TEXT,
  spec BLOB NOT NULL,
  plan BLOB NOT NULL,
  progress BLOB NOT NULL,
  result BLOB NOT NULL
);
CREATE INDEX jobs_by_time ON jobs (create_time, number);
CREATE INDEX jobs_by_state ON jobs (state, create_time, number);
CREATE INDEX jobs_by_method ON jobs (method, create_time, number);
CREATE INDEX jobs_by_model ON jobs (model, create_time, number);
CREATE INDEX jobs_counted ON jobs (state, method);
CREATE INDEX jobs_open ON jobs (number) WHERE state IN (0, 1, 2);

CREATE TABLE job_details (
  job INTEGER PRIMARY KEY REFERENCES jobs (number) ON DELETE CASCADE,
  plan BLOB NOT NULL,
  result BLOB NOT NULL
);
CREATE TABLE job_labels (
  job INTEGER NOT NULL REFERENCES jobs (number) ON DELETE CASCADE,
  key TEXT NOT NULL,
  value TEXT NOT NULL,
  PRIMARY KEY (job, key)
) WITHOUT ROWID;
CREATE INDEX job_labels_by_value ON job_labels (key, value, job);
CREATE TABLE requests (
  request_id TEXT PRIMARY KEY,
  job INTEGER NOT NULL REFERENCES jobs (number) ON DELETE CASCADE,
  job_id TEXT NOT NULL,
  body_sha256 TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX requests_by_job ON requests (job);
CREATE TABLE events (
  job INTEGER NOT NULL REFERENCES jobs (number) ON DELETE CASCADE,
  sequence INTEGER NOT NULL,
  time INTEGER NOT NULL,
  attempt INTEGER NOT NULL,
  kind INTEGER NOT NULL,
  state INTEGER NOT NULL,
  worker TEXT NOT NULL,
  failure TEXT,
  body BLOB NOT NULL,
  PRIMARY KEY (job, sequence)
) WITHOUT ROWID;
CREATE TABLE artifact_files (
  job INTEGER NOT NULL REFERENCES jobs (number) ON DELETE CASCADE,
  path TEXT NOT NULL,
  bytes INTEGER NOT NULL,
  sha256 TEXT NOT NULL,
  blob TEXT NOT NULL,
  PRIMARY KEY (job, path)
) WITHOUT ROWID;

CREATE TABLE tasks (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL UNIQUE,
  job INTEGER NOT NULL REFERENCES jobs (number) ON DELETE CASCADE,
  job_id TEXT NOT NULL,
  state INTEGER NOT NULL,
  priority INTEGER NOT NULL,
  queued_time INTEGER NOT NULL,
  fencing_token INTEGER NOT NULL,
  failures INTEGER NOT NULL,
  backend TEXT NOT NULL,
  memory_bytes INTEGER NOT NULL,
  max_run_time INTEGER NOT NULL,
  max_queue_time INTEGER,
  queue_deadline INTEGER
);
CREATE INDEX tasks_by_job ON tasks (job);
CREATE INDEX tasks_by_job_id ON tasks (job_id);
CREATE INDEX tasks_pending ON tasks (priority DESC, number) WHERE state = 0;
CREATE INDEX tasks_by_deadline ON tasks (queue_deadline) WHERE state = 0 AND queue_deadline IS NOT NULL;
CREATE TABLE leases (
  task_id TEXT PRIMARY KEY REFERENCES tasks (id) ON DELETE CASCADE,
  job_id TEXT NOT NULL,
  worker TEXT NOT NULL,
  session TEXT NOT NULL,
  fencing_token INTEGER NOT NULL,
  expire_time INTEGER NOT NULL,
  acknowledged_event INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX leases_by_worker ON leases (worker);
CREATE INDEX leases_by_time ON leases (expire_time);

CREATE TABLE workers (
  name TEXT PRIMARY KEY,
  session TEXT NOT NULL,
  last_seen INTEGER NOT NULL,
  backends TEXT NOT NULL,
  threads INTEGER NOT NULL,
  memory_bytes INTEGER NOT NULL,
  free_memory_bytes INTEGER NOT NULL,
  engine_version TEXT NOT NULL,
  isa TEXT NOT NULL,
  draining INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE ended_sessions (
  worker TEXT NOT NULL,
  session TEXT NOT NULL,
  time INTEGER NOT NULL,
  PRIMARY KEY (worker, session)
) WITHOUT ROWID;
)sql",
                                       // Counts that CreateJob needs, kept as they change: counting
                                       // rows would cost more with each job.
                                       R"sql(
CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO counters SELECT 'open_jobs', COUNT(*) FROM jobs WHERE state IN (0, 1, 2);
INSERT INTO counters SELECT 'pending_tasks', COUNT(*) FROM tasks WHERE state = 0;
DROP INDEX jobs_open;
CREATE TRIGGER open_job_added AFTER INSERT ON jobs WHEN NEW.state IN (0, 1, 2) BEGIN
  UPDATE counters SET value = value + 1 WHERE name = 'open_jobs';
END;
CREATE TRIGGER open_job_changed AFTER UPDATE OF state ON jobs
WHEN (OLD.state IN (0, 1, 2)) <> (NEW.state IN (0, 1, 2)) BEGIN
  UPDATE counters SET value = value + (NEW.state IN (0, 1, 2)) - (OLD.state IN (0, 1, 2))
  WHERE name = 'open_jobs';
END;
CREATE TRIGGER open_job_removed AFTER DELETE ON jobs WHEN OLD.state IN (0, 1, 2) BEGIN
  UPDATE counters SET value = value - 1 WHERE name = 'open_jobs';
END;
CREATE TRIGGER pending_task_added AFTER INSERT ON tasks WHEN NEW.state = 0 BEGIN
  UPDATE counters SET value = value + 1 WHERE name = 'pending_tasks';
END;
CREATE TRIGGER pending_task_changed AFTER UPDATE OF state ON tasks
WHEN (OLD.state = 0) <> (NEW.state = 0) BEGIN
  UPDATE counters SET value = value + (NEW.state = 0) - (OLD.state = 0)
  WHERE name = 'pending_tasks';
END;
CREATE TRIGGER pending_task_removed AFTER DELETE ON tasks WHEN OLD.state = 0 BEGIN
  UPDATE counters SET value = value - 1 WHERE name = 'pending_tasks';
END;
)sql",
                                       // What a worker may get is found at once, however many tasks
                                       // wait for a backend or for memory that it has not. A lease
                                       // of before counts as begun: it is not given again.
                                       R"sql(
DROP INDEX tasks_pending;
CREATE INDEX tasks_pending ON tasks (backend, priority DESC, number, memory_bytes)
  WHERE state = 0;
ALTER TABLE leases ADD COLUMN reported INTEGER NOT NULL DEFAULT 1;
)sql",
                                       // Tenants and tokens. What was there is the default
                                       // tenant's. Lists are of one tenant, so their indexes begin
                                       // with it; an admin's list of all goes by time.
                                       R"sql(
ALTER TABLE jobs ADD COLUMN tenant TEXT NOT NULL DEFAULT 'default';
CREATE UNIQUE INDEX jobs_of_tenant ON jobs (tenant, id);
CREATE INDEX jobs_of_tenant_by_time ON jobs (tenant, create_time, number);
DROP INDEX jobs_by_state;
CREATE INDEX jobs_by_state ON jobs (tenant, state, create_time, number);
DROP INDEX jobs_by_method;
CREATE INDEX jobs_by_method ON jobs (tenant, method, create_time, number);
DROP INDEX jobs_by_model;
CREATE INDEX jobs_by_model ON jobs (tenant, model, create_time, number);

CREATE TABLE requests_of_tenants (
  tenant TEXT NOT NULL,
  request_id TEXT NOT NULL,
  job INTEGER NOT NULL REFERENCES jobs (number) ON DELETE CASCADE,
  job_id TEXT NOT NULL,
  body_sha256 TEXT NOT NULL,
  PRIMARY KEY (tenant, request_id)
) WITHOUT ROWID;
INSERT INTO requests_of_tenants
  SELECT 'default', request_id, job, job_id, body_sha256 FROM requests;
DROP TABLE requests;
ALTER TABLE requests_of_tenants RENAME TO requests;
CREATE INDEX requests_by_job ON requests (job);

CREATE TABLE tokens (
  id TEXT PRIMARY KEY,
  digest TEXT NOT NULL UNIQUE,
  name TEXT NOT NULL,
  tenant TEXT NOT NULL,
  roles INTEGER NOT NULL,
  create_time INTEGER NOT NULL,
  expire_time INTEGER,
  revoke_time INTEGER,
  last_used_time INTEGER
) WITHOUT ROWID;
CREATE TABLE worker_owners (
  worker TEXT PRIMARY KEY,
  owner TEXT NOT NULL
) WITHOUT ROWID;
)sql",
                                       // Delayed retries, progress that is kept, stuck workers,
                                       // tenants' shares, jobs that ended long ago. A lease of
                                       // before is never stuck: its worker tells of no parts.
                                       R"sql(
ALTER TABLE tasks ADD COLUMN tenant TEXT NOT NULL DEFAULT 'default';
ALTER TABLE tasks ADD COLUMN not_before INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tasks ADD COLUMN sealed_parts INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tasks ADD COLUMN failed_attempts TEXT NOT NULL DEFAULT '[]';
ALTER TABLE tasks ADD COLUMN stall_limit INTEGER NOT NULL DEFAULT 3600000000;
ALTER TABLE leases ADD COLUMN sealed_parts INTEGER NOT NULL DEFAULT 0;
ALTER TABLE leases ADD COLUMN stuck_time INTEGER NOT NULL DEFAULT 9223372036854775807;
ALTER TABLE workers ADD COLUMN drain_asked INTEGER NOT NULL DEFAULT 0;
DROP INDEX tasks_pending;
CREATE INDEX tasks_pending ON tasks (backend, tenant, priority DESC, number, memory_bytes)
  WHERE state = 0;
CREATE INDEX tasks_leased ON tasks (tenant) WHERE state = 1;
CREATE INDEX tasks_delayed ON tasks (not_before) WHERE state = 3;
CREATE INDEX leases_by_stuck_time ON leases (stuck_time);
CREATE INDEX jobs_by_end ON jobs (end_time) WHERE end_time IS NOT NULL;
CREATE TABLE pending_of_tenants (tenant TEXT PRIMARY KEY, tasks INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO pending_of_tenants SELECT tenant, COUNT(*) FROM tasks WHERE state = 0 GROUP BY tenant;
CREATE TRIGGER pending_of_tenant_added AFTER INSERT ON tasks WHEN NEW.state = 0 BEGIN
  INSERT INTO pending_of_tenants VALUES (NEW.tenant, 1)
    ON CONFLICT (tenant) DO UPDATE SET tasks = tasks + 1;
END;
CREATE TRIGGER pending_of_tenant_changed AFTER UPDATE OF state ON tasks
WHEN (OLD.state = 0) <> (NEW.state = 0) BEGIN
  INSERT INTO pending_of_tenants VALUES (NEW.tenant, 1)
    ON CONFLICT (tenant) DO UPDATE SET tasks = tasks + (NEW.state = 0) - (OLD.state = 0);
END;
CREATE TRIGGER pending_of_tenant_removed AFTER DELETE ON tasks WHEN OLD.state = 0 BEGIN
  UPDATE pending_of_tenants SET tasks = tasks - 1 WHERE tenant = OLD.tenant;
END;
)sql",
                                       // Uploads, and which jobs use them.
                                       R"sql(
CREATE TABLE uploads (
  tenant TEXT NOT NULL,
  name TEXT NOT NULL,
  ready INTEGER NOT NULL,
  create_time INTEGER NOT NULL,
  change_time INTEGER NOT NULL,
  PRIMARY KEY (tenant, name)
) WITHOUT ROWID;
CREATE INDEX uploads_unfinished ON uploads (change_time) WHERE ready = 0;
CREATE TABLE upload_files (
  tenant TEXT NOT NULL,
  name TEXT NOT NULL,
  path TEXT NOT NULL,
  bytes INTEGER NOT NULL,
  sha256 TEXT NOT NULL,
  PRIMARY KEY (tenant, name, path)
) WITHOUT ROWID;
CREATE INDEX upload_files_by_content ON upload_files (tenant, sha256);
CREATE TABLE contents (
  tenant TEXT NOT NULL,
  sha256 TEXT NOT NULL,
  bytes INTEGER NOT NULL,
  blob TEXT NOT NULL UNIQUE,
  held INTEGER NOT NULL,
  PRIMARY KEY (tenant, sha256)
) WITHOUT ROWID;
CREATE TABLE upload_uses (
  tenant TEXT NOT NULL,
  name TEXT NOT NULL,
  job INTEGER NOT NULL REFERENCES jobs (number) ON DELETE CASCADE,
  PRIMARY KEY (tenant, name, job)
) WITHOUT ROWID;
CREATE INDEX upload_uses_by_job ON upload_uses (job);
)sql",
                                       // What identical requests find a job by.
                                       R"sql(
CREATE TABLE results (
  tenant TEXT NOT NULL,
  key TEXT NOT NULL,
  job INTEGER NOT NULL REFERENCES jobs (number) ON DELETE CASCADE,
  PRIMARY KEY (tenant, key, job)
) WITHOUT ROWID;
CREATE INDEX results_by_job ON results (job);
)sql",
                                       // Whom to tell of jobs, and what is still to be told.
                                       R"sql(
CREATE TABLE webhooks (
  job INTEGER NOT NULL REFERENCES jobs (number) ON DELETE CASCADE,
  place INTEGER NOT NULL,
  url TEXT NOT NULL,
  states INTEGER NOT NULL,
  PRIMARY KEY (job, place)
) WITHOUT ROWID;
CREATE TABLE deliveries (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL UNIQUE,
  job INTEGER NOT NULL REFERENCES jobs (number) ON DELETE CASCADE,
  job_id TEXT NOT NULL,
  webhook INTEGER NOT NULL,
  url TEXT NOT NULL,
  job_state INTEGER NOT NULL,
  time INTEGER NOT NULL,
  job_attempt INTEGER NOT NULL,
  failure TEXT NOT NULL,
  state INTEGER NOT NULL,
  attempts INTEGER NOT NULL,
  last_status INTEGER NOT NULL,
  last_error TEXT NOT NULL,
  create_time INTEGER NOT NULL,
  last_attempt_time INTEGER,
  next_attempt_time INTEGER NOT NULL
);
CREATE INDEX deliveries_by_job ON deliveries (job, number);
CREATE INDEX deliveries_due ON deliveries (next_attempt_time) WHERE state = 0;
CREATE INDEX deliveries_in_order ON deliveries (job, webhook, number) WHERE state = 0;
)sql"};

}  // namespace

std::span<const char* const> SqliteMigrations() { return kMigrations; }

}  // namespace quantd
