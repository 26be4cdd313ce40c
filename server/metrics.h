// Prometheus metrics, declared in one table (metrics.cc), served on a port of their own.
// docs/operations.md lists them.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/store/store.h"

namespace quantd {

// Thread-safe.
class Metrics {
 public:
  // Gauges of the queue are read from the store when somebody scrapes. The store must outlive this.
  explicit Metrics(Store& store);
  ~Metrics();
  Metrics(const Metrics&) = delete;
  Metrics& operator=(const Metrics&) = delete;

  // Serves "/metrics" on host:port; port 0 takes a free one. Returns the port. UNAVAILABLE if it
  // cannot be had.
  absl::StatusOr<int> Serve(const std::string& address);

  // A try of a delivery has ended: "delivered", "retry" or "failed".
  void WebhookTried(std::string_view outcome);

  // `code` is the name of a gRPC status code, "OK", "NOT_FOUND", …
  void RpcDone(std::string_view method, std::string_view code, absl::Duration duration);
  void TaskDone(std::string_view method, std::string_view outcome, absl::Duration duration);
  void BytesServed(int64_t bytes);
  // A request was answered with the job of an identical one.
  void ResultReused();

  // The page as text, as a scrape would get it.
  std::string Page() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace quantd
