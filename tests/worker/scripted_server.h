// A gRPC server for workers in this process, whose answers the test decides.
#pragma once

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "quantd/v1/worker_service.grpc.pb.h"

namespace quantd {

inline constexpr absl::Duration kPatience = absl::Seconds(120);

// Keeps every request; the test's function answers. Functions run one at a time.
class ScriptedServer : public v1::WorkerService::Service {
 public:
  using Answer =
      std::function<grpc::Status(const v1::SynchronizeRequest&, v1::SynchronizeResponse&)>;

  explicit ScriptedServer(Answer answer) : answer_(std::move(answer)) {
    grpc::ServerBuilder builder;
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
  }
  ~ScriptedServer() override { server_->Shutdown(std::chrono::system_clock::now()); }

  std::unique_ptr<v1::WorkerService::Stub> NewStub() {
    return v1::WorkerService::NewStub(server_->InProcessChannel({}));
  }

  grpc::Status Synchronize(grpc::ServerContext* context, const v1::SynchronizeRequest* request,
                           v1::SynchronizeResponse* response) override {
    {
      const absl::MutexLock lock(&mutex_);
      requests_.push_back(*request);
      response->set_blob_store_uri(blob_store_uri);
      response->mutable_lease()->set_seconds(60);
      response->mutable_next_call_delay()->set_seconds(5);
      if (request->has_task() && request->task().events_size() > 0) {
        response->set_acknowledged_event(
            request->task().events(request->task().events_size() - 1).number());
      }
      const grpc::Status status = answer_(*request, *response);
      const auto goes_on =
          request->has_task() ? v1::SynchronizeResponse::RUN : v1::SynchronizeResponse::IDLE;
      if (!status.ok() || !hold || !request->has_long_poll() || response->desired() != goes_on) {
        return status;
      }
    }
    // A long poll: nothing comes, so it ends when the worker hangs up.
    const absl::Time end = absl::Now() + absl::Seconds(request->long_poll().seconds());
    while (absl::Now() < end && !context->IsCancelled()) absl::SleepFor(absl::Milliseconds(2));
    if (context->IsCancelled()) ++hang_ups;
    return grpc::Status::OK;
  }

  std::vector<v1::SynchronizeRequest> requests() const {
    const absl::MutexLock lock(&mutex_);
    return requests_;
  }
  // Waits until some request satisfies `wanted`.
  bool WaitFor(const std::function<bool(const v1::SynchronizeRequest&)>& wanted) const {
    const auto there = [&] { return std::any_of(requests_.begin(), requests_.end(), wanted); };
    const absl::MutexLock lock(&mutex_);
    return mutex_.AwaitWithTimeout(absl::Condition(&there), kPatience);
  }

  // Waits until the worker is idle again after it had a task.
  bool WaitForIdleAgain() const {
    const auto there = [&] {
      const auto first = std::find_if(requests_.begin(), requests_.end(),
                                      [](const auto& request) { return request.has_task(); });
      return first != requests_.end() && !requests_.back().has_task();
    };
    const absl::MutexLock lock(&mutex_);
    return mutex_.AwaitWithTimeout(absl::Condition(&there), kPatience);
  }

  std::string blob_store_uri;
  std::atomic<bool> hold{true};  // calls that may wait and whose answer is "as before"
  std::atomic<int> hang_ups{0};  // of calls that were held

 private:
  mutable absl::Mutex mutex_;
  Answer answer_;
  std::vector<v1::SynchronizeRequest> requests_;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace quantd
