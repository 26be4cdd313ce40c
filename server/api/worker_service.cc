#include "server/api/worker_service.h"

#include <algorithm>
#include <atomic>
#include <optional>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "base/exceptions.h"
#include "server/api/calls.h"
#include "server/api/job_messages.h"
#include "server/api/synchronize.h"
#include "server/scheduler/rules.h"

namespace quantd {
namespace {

// One Synchronize call: looks, and while there is nothing to tell waits and looks again, until its
// time is over. Deletes itself when the call is over.
class SynchronizeCall final : public grpc::ServerUnaryReactor {
 public:
  SynchronizeCall(ApiContext& api, Credentials credentials, const v1::SynchronizeRequest* request,
                  v1::SynchronizeResponse* response)
      : api_(api),
        credentials_(std::move(credentials)),
        timer_(api, kRpc.method),
        request_(*request),
        response_(*response),
        deadline_(api.clock.Now() + std::clamp(FromProto(request->long_poll()),
                                               absl::ZeroDuration(), LongestWait(api.limits))) {}

  void Start() {
    api_.executor.Run([this] { Look(); });
  }

  // A worker that has news hangs up: its call does not stay until it would have been answered.
  void OnCancel() override {
    cancelled_.store(true);
    absl::MutexLock lock(&mutex_);
    if (ticket_.has_value()) api_.hub.WakeNow(*ticket_);
  }

  // gRPC calls it when OnCancel has returned; by the lock that order is ours as well.
  void OnDone() override {
    {
      absl::MutexLock lock(&mutex_);
    }
    delete this;
  }

 private:
  static constexpr const RpcRow& kRpc = RpcNamed(kWorkerService, "Synchronize");

  // A worker that is at work is heard of often enough to keep its lease.
  absl::Duration LongestWait(const Limits& limits) const {
    return request_.has_task() ? std::min(limits.long_poll, HeartbeatInterval(limits))
                               : limits.long_poll;
  }

  void Look() {
    {
      absl::MutexLock lock(&mutex_);
      ticket_.reset();
    }
    // Nobody would hear the answer; above all, no work may be given to nobody.
    if (cancelled_.load()) return End(MakeError(Reason::kCancelled, "the worker is gone"));
    // Anew at each look: a worker whose token was revoked while it waited gets no work.
    const auto caller = api_.access.Admit(kRpc, credentials_);
    if (!caller.ok()) return End(caller.status());
    // Fields of a newer worker are read past; see worker_service.proto.
    if (const absl::Status form = CheckSynchronize(request_, api_.limits); !form.ok()) {
      return End(form);
    }
    const std::string topic = TopicOf(request_);
    const uint64_t seen = api_.hub.Seen(topic);
    auto answer =
        CatchExceptions("Synchronize", [&] { return Synchronize(api_, *caller, request_); });
    if (!answer.ok()) return End(answer.status());
    const absl::Duration left = deadline_ - api_.clock.Now();
    if (!answer->may_wait || left <= absl::ZeroDuration()) {
      response_ = std::move(answer->response);
      return End(absl::OkStatus());
    }
    if (api_.hub.stopped()) return End(ShuttingDown());
    absl::MutexLock lock(&mutex_);
    ticket_ = api_.hub.Wait(topic, seen, left, [this] { Look(); });
    if (cancelled_.load()) api_.hub.WakeNow(*ticket_);
  }

  void End(const absl::Status& status) { Finish(timer_.End(status)); }

  ApiContext& api_;
  const Credentials credentials_;
  const CallTimer timer_;
  const v1::SynchronizeRequest& request_;
  v1::SynchronizeResponse& response_;
  const absl::Time deadline_;
  std::atomic<bool> cancelled_ = false;
  absl::Mutex mutex_;
  std::optional<EventHub::Ticket> ticket_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace

grpc::ServerUnaryReactor* WorkerService::Synchronize(grpc::CallbackServerContext* context,
                                                     const v1::SynchronizeRequest* request,
                                                     v1::SynchronizeResponse* response) {
  auto* call = new SynchronizeCall(api_, CredentialsOf(*context), request, response);
  call->Start();
  return call;
}

}  // namespace quantd
