// The one call of a worker, in plain terms: a deadline, and a way to end a call that waits.
#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "quantd/v1/worker_service.grpc.pb.h"

namespace quantd {

// Thread-safe; one Call at a time.
class Synchronizer {
 public:
  explicit Synchronizer(std::unique_ptr<v1::WorkerService::StubInterface> stub);
  // Connects when first called. `server` is "host:port".
  static std::unique_ptr<Synchronizer> Connect(const std::string& server);

  // Errors carry the server's reason: LEASE_LOST, UNAVAILABLE, …; CANCELLED after Interrupt.
  absl::StatusOr<v1::SynchronizeResponse> Call(const v1::SynchronizeRequest& request,
                                               absl::Duration timeout);
  // Ends the call that is under way, or else the next one.
  void Interrupt();

 private:
  const std::unique_ptr<v1::WorkerService::StubInterface> stub_;
  absl::Mutex mutex_;
  grpc::ClientContext* context_ ABSL_GUARDED_BY(mutex_) = nullptr;
  bool interrupted_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace quantd
