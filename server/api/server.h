// The running server: store, services, metrics and the threads behind them. main.cc and the tests
// start it the same way.
#pragma once

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "engine/plan/plan.h"
#include "server/access/access_control.h"
#include "server/api/certificates.h"
#include "server/api/context.h"
#include "server/limits.h"
#include "server/store/store.h"

namespace quantd {

struct ServerOptions {
  std::string listen = "127.0.0.1:0";  // host:port; port 0 takes a free one
  std::string metrics = "127.0.0.1:0";
  std::string data = {};         // folder; made if missing, locked while the server runs
  std::string store = "sqlite";  // open_store.h; of several servers, one for all
  std::string blobs = {};        // OpenBlobStore; empty: in the folder. Likewise one for all
  std::vector<std::string> model_roots = {};  // folders that requests may name
  Limits limits = {};
  bool result_cache = true;
  WebhookHosts webhook_hosts = {};  // none: webhooks are off
  std::string webhook_secret = {};  // what their deliveries are signed with
  TokenRule tokens = TokenRule::kOnceThereAreAny;
  TlsFiles tls = {};  // empty: plain text
  int threads = 8;    // for the store and files
  int planners = 2;   // CreateJob calls planned at a time
  absl::Duration reaper_period = absl::Seconds(1);
  absl::Duration sweep_period = absl::Minutes(10);  // blobs that no job names are removed so often
  const Clock* clock = &Clock::System();
  // What plans a job, and what may stand between the server and its store: for tests.
  Planner plan = [](const QuantizeRequest& request, std::shared_ptr<const ModelFiles> files) {
    return files == nullptr ? MakePlan(request) : MakePlan(request, std::move(files));
  };
  std::function<std::unique_ptr<Store>(std::unique_ptr<Store>)> wrap_store = nullptr;
};

// Thread-safe.
class Server {
 public:
  // Everything is ready for calls when this returns. Errors: WRONG_STATE if another server holds
  // the data folder, UNAVAILABLE if an address cannot be had, MODEL_NOT_FOUND for a root that is
  // not a folder, INVALID_FIELD for certificates that cannot be used.
  static absl::StatusOr<std::unique_ptr<Server>> Start(const ServerOptions& options);
  // Shuts down at once if Shutdown was not called.
  virtual ~Server() = default;

  virtual int grpc_port() const = 0;
  virtual int metrics_port() const = 0;
  // Where programs of the same user on this machine find it, without TLS: "127.0.0.1:8470", or with
  // TLS a socket that nobody else can open.
  virtual std::string LocalAddress() const = 0;
  // What a worker on this machine says to be let in, while the server runs.
  virtual const std::string& LocalWorkerSecret() const = 0;
  // The page that the metrics port serves.
  virtual std::string MetricsPage() const = 0;
  // Health says NOT_SERVING, no work is given out, waiting calls and streams end with UNAVAILABLE
  // (SHUTTING_DOWN), calls under way may finish within `grace` and are cut off then. Returns when
  // nothing runs any more.
  virtual void Shutdown(absl::Duration grace) = 0;
};

}  // namespace quantd
