#include "server/store/schema.h"

namespace quantd {
namespace {

// The tables of sqlite_schema.cc as its last step leaves them; why they are so is said there. Texts
// are compared byte by byte, whatever the database's own order is.
constexpr const char* kMigrations[] = {R"sql(
CREATE TABLE jobs (
  number BIGINT PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
  id TEXT COLLATE "C" NOT NULL UNIQUE,
  tenant TEXT COLLATE "C" NOT NULL,
  state BIGINT NOT NULL,
  method TEXT COLLATE "C" NOT NULL,
  model TEXT COLLATE "C" NOT NULL,
  create_time BIGINT NOT NULL,
  start_time BIGINT,
  end_time BIGINT,
  attempts BIGINT NOT NULL,
  last_sequence BIGINT NOT NULL,
  worker TEXT COLLATE "C" NOT NULL,
  labels TEXT NOT NULL,
  failure TEXT,
  spec BYTEA NOT NULL,
  plan BYTEA NOT NULL,
  progress BYTEA NOT NULL,
  result BYTEA NOT NULL
);
CREATE INDEX jobs_by_time ON jobs (create_time, number);
CREATE INDEX jobs_by_state ON jobs (tenant, state, create_time, number);
CREATE INDEX jobs_by_method ON jobs (tenant, method, create_time, number);
CREATE INDEX jobs_by_model ON jobs (tenant, model, create_time, number);
CREATE INDEX jobs_counted ON jobs (state, method);
CREATE UNIQUE INDEX jobs_of_tenant ON jobs (tenant, id);
CREATE INDEX jobs_of_tenant_by_time ON jobs (tenant, create_time, number);
CREATE INDEX jobs_by_end ON jobs (end_time) WHERE end_time IS NOT NULL;

CREATE TABLE job_details (
  job BIGINT PRIMARY KEY REFERENCES jobs (number) ON DELETE CASCADE,
  plan BYTEA NOT NULL,
  result BYTEA NOT NULL
);
CREATE TABLE job_labels (
  job BIGINT NOT NULL REFERENCES jobs (number) ON DELETE CASCADE,
  key TEXT COLLATE "C" NOT NULL,
  value TEXT COLLATE "C" NOT NULL,
  PRIMARY KEY (job, key)
);
CREATE INDEX job_labels_by_value ON job_labels (key, value, job);
CREATE TABLE requests (
  tenant TEXT COLLATE "C" NOT NULL,
  request_id TEXT COLLATE "C" NOT NULL,
  job BIGINT NOT NULL REFERENCES jobs (number) ON DELETE CASCADE,
  job_id TEXT COLLATE "C" NOT NULL,
  body_sha256 TEXT COLLATE "C" NOT NULL,
  PRIMARY KEY (tenant, request_id)
);
CREATE INDEX requests_by_job ON requests (job);
CREATE TABLE results (
  tenant TEXT COLLATE "C" NOT NULL,
  key TEXT COLLATE "C" NOT NULL,
  job BIGINT NOT NULL REFERENCES jobs (number) ON DELETE CASCADE,
  PRIMARY KEY (tenant, key, job)
);
CREATE INDEX results_by_job ON results (job);
CREATE TABLE events (
  job BIGINT NOT NULL REFERENCES jobs (number) ON DELETE CASCADE,
  sequence BIGINT NOT NULL,
  time BIGINT NOT NULL,
  attempt BIGINT NOT NULL,
  kind BIGINT NOT NULL,
  state BIGINT NOT NULL,
  worker TEXT COLLATE "C" NOT NULL,
  failure TEXT,
  body BYTEA NOT NULL,
  PRIMARY KEY (job, sequence)
);
CREATE TABLE artifact_files (
  job BIGINT NOT NULL REFERENCES jobs (number) ON DELETE CASCADE,
  path TEXT COLLATE "C" NOT NULL,
  bytes BIGINT NOT NULL,
  sha256 TEXT COLLATE "C" NOT NULL,
  blob TEXT COLLATE "C" NOT NULL,
  PRIMARY KEY (job, path)
);

CREATE TABLE tasks (
  number BIGINT PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
  id TEXT COLLATE "C" NOT NULL UNIQUE,
  job BIGINT NOT NULL REFERENCES jobs (number) ON DELETE CASCADE,
  job_id TEXT COLLATE "C" NOT NULL,
  tenant TEXT COLLATE "C" NOT NULL,
  state BIGINT NOT NULL,
  priority BIGINT NOT NULL,
  queued_time BIGINT NOT NULL,
  fencing_token BIGINT NOT NULL,
  failures BIGINT NOT NULL,
  backend TEXT COLLATE "C" NOT NULL,
  memory_bytes BIGINT NOT NULL,
  max_run_time BIGINT NOT NULL,
  max_queue_time BIGINT,
  queue_deadline BIGINT,
  not_before BIGINT NOT NULL,
  sealed_parts BIGINT NOT NULL,
  failed_attempts TEXT NOT NULL,
  stall_limit BIGINT NOT NULL
);
CREATE INDEX tasks_by_job ON tasks (job);
CREATE INDEX tasks_by_job_id ON tasks (job_id);
CREATE INDEX tasks_by_deadline ON tasks (queue_deadline)
  WHERE state = 0 AND queue_deadline IS NOT NULL;
CREATE INDEX tasks_pending ON tasks (backend, tenant, priority DESC, number, memory_bytes)
  WHERE state = 0;
CREATE INDEX tasks_leased ON tasks (tenant) WHERE state = 1;
CREATE INDEX tasks_delayed ON tasks (not_before) WHERE state = 3;
CREATE TABLE leases (
  task_id TEXT COLLATE "C" PRIMARY KEY REFERENCES tasks (id) ON DELETE CASCADE,
  job_id TEXT COLLATE "C" NOT NULL,
  worker TEXT COLLATE "C" NOT NULL,
  session TEXT COLLATE "C" NOT NULL,
  fencing_token BIGINT NOT NULL,
  expire_time BIGINT NOT NULL,
  acknowledged_event BIGINT NOT NULL,
  reported BIGINT NOT NULL,
  sealed_parts BIGINT NOT NULL,
  stuck_time BIGINT NOT NULL
);
CREATE INDEX leases_by_worker ON leases (worker);
CREATE INDEX leases_by_time ON leases (expire_time);
CREATE INDEX leases_by_stuck_time ON leases (stuck_time);

CREATE TABLE workers (
  name TEXT COLLATE "C" PRIMARY KEY,
  session TEXT COLLATE "C" NOT NULL,
  last_seen BIGINT NOT NULL,
  backends TEXT NOT NULL,
  threads BIGINT NOT NULL,
  memory_bytes BIGINT NOT NULL,
  free_memory_bytes BIGINT NOT NULL,
  engine_version TEXT NOT NULL,
  isa TEXT NOT NULL,
  draining BIGINT NOT NULL,
  drain_asked BIGINT NOT NULL
);
CREATE TABLE ended_sessions (
  worker TEXT COLLATE "C" NOT NULL,
  session TEXT COLLATE "C" NOT NULL,
  time BIGINT NOT NULL,
  PRIMARY KEY (worker, session)
);
CREATE TABLE tokens (
  id TEXT COLLATE "C" PRIMARY KEY,
  digest TEXT COLLATE "C" NOT NULL UNIQUE,
  name TEXT NOT NULL,
  tenant TEXT COLLATE "C" NOT NULL,
  roles BIGINT NOT NULL,
  create_time BIGINT NOT NULL,
  expire_time BIGINT,
  revoke_time BIGINT,
  last_used_time BIGINT
);
CREATE TABLE worker_owners (
  worker TEXT COLLATE "C" PRIMARY KEY,
  owner TEXT COLLATE "C" NOT NULL
);

CREATE TABLE uploads (
  tenant TEXT COLLATE "C" NOT NULL,
  name TEXT COLLATE "C" NOT NULL,
  ready BIGINT NOT NULL,
  create_time BIGINT NOT NULL,
  change_time BIGINT NOT NULL,
  PRIMARY KEY (tenant, name)
);
CREATE INDEX uploads_unfinished ON uploads (change_time) WHERE ready = 0;
CREATE TABLE upload_files (
  tenant TEXT COLLATE "C" NOT NULL,
  name TEXT COLLATE "C" NOT NULL,
  path TEXT COLLATE "C" NOT NULL,
  bytes BIGINT NOT NULL,
  sha256 TEXT COLLATE "C" NOT NULL,
  PRIMARY KEY (tenant, name, path)
);
CREATE INDEX upload_files_by_content ON upload_files (tenant, sha256);
CREATE TABLE contents (
  tenant TEXT COLLATE "C" NOT NULL,
  sha256 TEXT COLLATE "C" NOT NULL,
  bytes BIGINT NOT NULL,
  blob TEXT COLLATE "C" NOT NULL UNIQUE,
  held BIGINT NOT NULL,
  PRIMARY KEY (tenant, sha256)
);
CREATE TABLE upload_uses (
  tenant TEXT COLLATE "C" NOT NULL,
  name TEXT COLLATE "C" NOT NULL,
  job BIGINT NOT NULL REFERENCES jobs (number) ON DELETE CASCADE,
  PRIMARY KEY (tenant, name, job)
);
CREATE INDEX upload_uses_by_job ON upload_uses (job);

CREATE TABLE webhooks (
  job BIGINT NOT NULL REFERENCES jobs (number) ON DELETE CASCADE,
  place BIGINT NOT NULL,
  url TEXT NOT NULL,
  states BIGINT NOT NULL,
  PRIMARY KEY (job, place)
);
CREATE TABLE deliveries (
  number BIGINT PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
  id TEXT COLLATE "C" NOT NULL UNIQUE,
  job BIGINT NOT NULL REFERENCES jobs (number) ON DELETE CASCADE,
  job_id TEXT COLLATE "C" NOT NULL,
  webhook BIGINT NOT NULL,
  url TEXT NOT NULL,
  job_state BIGINT NOT NULL,
  time BIGINT NOT NULL,
  job_attempt BIGINT NOT NULL,
  failure TEXT NOT NULL,
  state BIGINT NOT NULL,
  attempts BIGINT NOT NULL,
  last_status BIGINT NOT NULL,
  last_error TEXT NOT NULL,
  create_time BIGINT NOT NULL,
  last_attempt_time BIGINT,
  next_attempt_time BIGINT NOT NULL
);
CREATE INDEX deliveries_by_job ON deliveries (job, number);
CREATE INDEX deliveries_due ON deliveries (next_attempt_time) WHERE state = 0;
CREATE INDEX deliveries_in_order ON deliveries (job, webhook, number) WHERE state = 0;

CREATE TABLE counters (name TEXT COLLATE "C" PRIMARY KEY, value BIGINT NOT NULL);
INSERT INTO counters VALUES ('open_jobs', 0), ('pending_tasks', 0);
CREATE TABLE pending_of_tenants (tenant TEXT COLLATE "C" PRIMARY KEY, tasks BIGINT NOT NULL);
CREATE FUNCTION count_open_jobs() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  change BIGINT := 0;
BEGIN
  IF TG_OP <> 'INSERT' AND OLD.state IN (0, 1, 2) THEN change := change - 1; END IF;
  IF TG_OP <> 'DELETE' AND NEW.state IN (0, 1, 2) THEN change := change + 1; END IF;
  IF change <> 0 THEN
    UPDATE counters SET value = value + change WHERE name = 'open_jobs';
  END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER open_jobs AFTER INSERT OR UPDATE OF state OR DELETE ON jobs
  FOR EACH ROW EXECUTE FUNCTION count_open_jobs();
CREATE FUNCTION count_pending_tasks() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  change BIGINT := 0;
  whose TEXT;
BEGIN
  IF TG_OP <> 'INSERT' AND OLD.state = 0 THEN change := change - 1; END IF;
  IF TG_OP <> 'DELETE' AND NEW.state = 0 THEN change := change + 1; END IF;
  IF change = 0 THEN RETURN NULL; END IF;
  IF TG_OP = 'DELETE' THEN whose := OLD.tenant; ELSE whose := NEW.tenant; END IF;
  UPDATE counters SET value = value + change WHERE name = 'pending_tasks';
  INSERT INTO pending_of_tenants VALUES (whose, change)
    ON CONFLICT (tenant) DO UPDATE SET tasks = pending_of_tenants.tasks + change;
  RETURN NULL;
END $$;
CREATE TRIGGER pending_tasks AFTER INSERT OR UPDATE OF state OR DELETE ON tasks
  FOR EACH ROW EXECUTE FUNCTION count_pending_tasks();
)sql"};

}  // namespace

std::span<const char* const> PostgresMigrations() { return kMigrations; }

}  // namespace quantd
