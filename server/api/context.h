// What every rpc of the server works with, and what they all do the same way.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "blob/blob_store.h"
#include "engine/plan/plan.h"
#include "server/access/access_control.h"
#include "server/access/audit_log.h"
#include "server/event_hub.h"
#include "server/executor.h"
#include "server/lifecycle.h"
#include "server/limits.h"
#include "server/metrics.h"
#include "server/staging.h"
#include "server/store/store.h"
#include "server/webhooks/hosts.h"

namespace quantd {

// Without files, the model is opened at the request's model_folder.
using Planner = std::function<absl::StatusOr<std::unique_ptr<PlannedQuantization>>(
    const QuantizeRequest& request, std::shared_ptr<const ModelFiles> files)>;

// Made once; all members are thread-safe or constant.
struct ApiContext {
  Store& store;
  AccessControl& access;
  const AuditLog& audit;
  BlobStore& blobs;
  std::string blob_uri;
  Staging& staging;
  const Clock& clock;
  Limits limits;
  Metrics& metrics;
  Executor& executor;  // store and files
  Executor& planner;   // CreateJob: reads models and texts, so it must not hold up heartbeats
  EventHub& hub;
  // Plans what CreateJob is asked for: reads a stranger's model, so it may fail in any way.
  Planner plan;
  std::vector<std::string> model_roots;  // resolved
  WebhookHosts webhook_hosts = {};       // that jobs may have told of them
  bool result_cache = true;              // identical requests share a job
  std::atomic<int> streams = 0;          // open WatchJob and ReadArtifactFile calls

  // Wakes who waits for what was committed and removes blobs that nothing names any more.
  void Committed(const AfterCommit& after);
};

}  // namespace quantd
