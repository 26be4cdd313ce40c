// The one call of a worker, in plain terms: a deadline, and a way to end a call that waits.
#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "proto/secure_channel.h"
#include "quantd/v1/worker_service.grpc.pb.h"

namespace quantd {

// Thread-safe; one Call at a time.
class Synchronizer {
 public:
  explicit Synchronizer(std::unique_ptr<v1::WorkerService::StubInterface> stub,
                        ChannelSecurity security = {}, std::string token_file = "");
  // Connects when first called. `server` is "host:port". INVALID_FIELD for files or a token that
  // cannot be used. `token_file` ("" for none) is read now, and again whenever the server does not
  // know the token: it may have been renewed.
  static absl::StatusOr<std::unique_ptr<Synchronizer>> Connect(const std::string& server,
                                                               ChannelSecurity security,
                                                               const std::string& token_file);

  // Errors carry the server's reason: LEASE_LOST, UNAVAILABLE, …; CANCELLED after Interrupt.
  absl::StatusOr<v1::SynchronizeResponse> Call(const v1::SynchronizeRequest& request,
                                               absl::Duration timeout);
  // Ends the call that is under way, or else the next one.
  void Interrupt();

 private:
  void ReadTokenAgain();

  const std::unique_ptr<v1::WorkerService::StubInterface> stub_;
  ChannelSecurity security_;  // of the one call at a time
  const std::string token_file_;
  absl::Mutex mutex_;
  grpc::ClientContext* context_ ABSL_GUARDED_BY(mutex_) = nullptr;
  bool interrupted_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace quantd
