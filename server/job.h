// What the server knows: jobs, their tasks, the workers and leases, events and files. Plain data;
// the wire's shapes are in proto/, and specs, plans, progress and results are bytes that only
// server/api looks into.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "base/error.h"
#include "server/caller.h"

namespace quantd {

enum class JobState { kPending, kRunning, kCancelling, kSucceeded, kFailed, kCancelled };
inline constexpr JobState kJobStates[] = {JobState::kPending,    JobState::kRunning,
                                          JobState::kCancelling, JobState::kSucceeded,
                                          JobState::kFailed,     JobState::kCancelled};
std::string_view NameOf(JobState state);  // "PENDING", …
std::optional<JobState> JobStateByName(std::string_view name);

// Why an attempt or a job failed.
struct Failure {
  std::string reason;  // name of a Reason
  std::string message;
  std::vector<Violation> violations = {};
};
Failure FailureOf(const absl::Status& status);

struct Job {
  int64_t number = 0;  // grows with each job; set by the store
  std::string id;
  std::string tenant = kDefaultTenant;
  JobState state = JobState::kPending;
  std::map<std::string, std::string> labels;
  std::string method;  // of the default scheme
  std::string model;
  std::string spec;      // quantd.v1.JobSpec
  std::string plan;      // quantd.v1.Plan without its lists
  std::string progress;  // quantd.v1.Progress
  std::string result;    // quantd.v1.JobResult without its lists
  std::optional<Failure> failure;
  absl::Time create_time;
  std::optional<absl::Time> start_time, end_time;
  int attempts = 0;  // leases given
  int64_t last_sequence = 0;
  std::string worker;
};

// The long lists of a job, read only when one job is asked for. Appended to the bytes of the short
// message they make the full one.
struct JobDetail {
  std::string plan;
  std::string result;
};

// What a worker leases. Today a job is one task. A delayed task waits for its time after a failed
// attempt, and then for a worker: its job is PENDING in both.
enum class TaskState { kPending, kLeased, kDone, kDelayed };

struct Task {
  std::string id;
  std::string job_id;
  TaskState state = TaskState::kPending;
  int priority = 0;                     // higher runs sooner
  absl::Time queued_time;               // since when it has been waiting for a worker
  absl::Time not_before = {};           // until when it is delayed
  std::string tenant = kDefaultTenant;  // of its job: the workers are shared fairly among them
  int64_t order = 0;                    // among equals of priority; set by the store
  int64_t fencing_token = 0;            // of the newest lease; only grows
  int failures = 0;  // attempts that failed and sealed nothing new; handed-back ones do not count
  int64_t sealed_parts = 0;                     // most that an attempt has left in the checkpoint
  std::vector<Violation> failed_attempts = {};  // the last ones: which, and why
  absl::Duration stall_limit = absl::Hours(1);  // without progress, a worker counts as stuck
  std::string backend = "any";
  int64_t memory_bytes = 0;  // what a worker must have free
  absl::Duration max_run_time;
  std::optional<absl::Duration> max_queue_time;
};

struct Worker {
  std::string name;
  std::string session;
  absl::Time last_seen;
  std::vector<std::string> backends;
  int threads = 0;
  int64_t memory_bytes = 0, free_memory_bytes = 0;
  std::string engine_version, isa;
  bool draining = false;     // it is leaving
  bool drain_asked = false;  // it was told to leave once it is idle
};

struct Lease {
  std::string task_id = {};
  std::string job_id = {};
  std::string worker = {}, session = {};
  int64_t fencing_token = 0;
  absl::Time expire_time = {};
  int64_t acknowledged_event = 0;  // highest TaskEvent.number that is stored
  bool reported = false;           // the worker has spoken of the task: it has begun it
  int64_t sealed_parts = 0;        // that the worker has told of
  absl::Time stuck_time = absl::InfiniteFuture();  // without progress until then it is stuck
};

struct Event {
  // kStateChange is told by the fields below, the others by `body`: the quantd.v1 message of that
  // kind.
  enum class Kind { kStateChange, kProgress, kLayer, kFile, kWarning, kResult };
  int64_t sequence = 0;
  absl::Time time;
  int attempt = 0;
  Kind kind = Kind::kStateChange;
  JobState state = JobState::kPending;
  std::string worker;
  std::optional<Failure> failure;
  std::string body;
};

struct ArtifactFile {
  std::string path;
  int64_t bytes = 0;
  std::string sha256;
  std::string blob;  // its name in the blob store
};

}  // namespace quantd
