// One leased task: from the assignment to the report that ends it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "blob/blob_store.h"
#include "engine/types/request.h"
#include "quantd/v1/worker_service.pb.h"
#include "worker/agent/task_checkpoint.h"
#include "worker/runner/child.h"

namespace quantd {

// What a worker grants to a task. 0: no limit of its own.
struct TaskResources {
  std::string program;         // the runner
  std::string scratch_folder;  // of the worker; the task makes its own below
  int threads = 0;
  int64_t memory_bytes = 0;
  absl::Duration cancel_grace = absl::Seconds(10);
  bool sandbox = true;  // the child gives up what it does not need (sandbox.h)
};

// Runs the child in a scratch folder of its own, from where the attempts before it were, stores
// each file and each block in the blob store as soon as it is sealed, and keeps the events that the
// server has not acknowledged. Everything slow happens in a thread of the task, so that the agent
// can always renew its lease. Thread-safe.
class LeasedTask {
 public:
  // Begins the work. Never fails: what goes wrong becomes the report. `wake` is called, from
  // another thread, when there is something to report; it must not call the task.
  static std::unique_ptr<LeasedTask> Start(v1::TaskAssignment assignment,
                                           const std::string& blob_store_uri,
                                           TaskResources resources, std::function<void()> wake);
  // Kills what runs, waits for it, and removes the scratch folder.
  ~LeasedTask();
  LeasedTask(const LeasedTask&) = delete;
  LeasedTask& operator=(const LeasedTask&) = delete;

  const std::string& name() const { return assignment_.task(); }
  int64_t fencing_token() const { return assignment_.fencing_token(); }

  // Stops the child; the task then ends as CANCELLED (the server wants it) or RETURNED (the worker
  // leaves). The first call decides.
  void Stop(v1::TaskReport::State as);

  // Whether there is something that no Report has told yet.
  bool has_news() const;
  // Whether the next Report is final if all events fit.
  bool ended() const;

  // What is to be said now: at most `max_events` events, and the final state only when none is left
  // out.
  v1::TaskReport Report(int max_events);
  // Events up to `number` are durable at the server.
  void Acknowledge(int64_t number);

 private:
  LeasedTask(v1::TaskAssignment assignment, TaskResources resources, std::function<void()> wake);

  void Run(const std::string& blob_store_uri);
  absl::StatusOr<QuantizeRequest> Request() const;
  absl::Status Prepare(const std::string& blob_store_uri);
  absl::StatusOr<quantd::Report> Follow();
  absl::Status Publish(std::vector<RunnerEvent> events);
  void OpenCheckpoint();
  void StoreCheckpoint();
  void Append(v1::TaskEvent event);
  void End(absl::StatusOr<quantd::Report> outcome);

  const v1::TaskAssignment assignment_;
  const TaskResources resources_;
  const std::function<void()> wake_;
  const std::string folder_;
  std::unique_ptr<BlobStore> blobs_;            // the thread's own
  std::unique_ptr<TaskCheckpoint> checkpoint_;  // likewise; null: the server wants none

  mutable absl::Mutex mutex_;
  std::unique_ptr<Child> child_ ABSL_GUARDED_BY(mutex_);
  bool child_news_ ABSL_GUARDED_BY(mutex_) = false;
  std::optional<v1::TaskReport::State> stopped_as_ ABSL_GUARDED_BY(mutex_);
  bool abandoned_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<v1::TaskEvent> events_ ABSL_GUARDED_BY(mutex_);  // not acknowledged
  int64_t last_number_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t reported_number_ ABSL_GUARDED_BY(mutex_) = 0;
  std::optional<v1::TaskReport> end_ ABSL_GUARDED_BY(mutex_);  // state, result, error
  bool end_reported_ ABSL_GUARDED_BY(mutex_) = false;
  int64_t sealed_parts_ ABSL_GUARDED_BY(mutex_) = 0;
  std::thread thread_;
};

}  // namespace quantd
