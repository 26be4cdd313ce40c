#include "server/api/worker_service.h"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>

#include "absl/time/clock.h"
#include "server/api/calls.h"
#include "server/api/job_messages.h"
#include "server/api/synchronize.h"

namespace quantd {
namespace {

// One Synchronize call: looks, and while there is nothing to tell waits and looks again, until its
// time is over.
class SynchronizeCall : public std::enable_shared_from_this<SynchronizeCall> {
 public:
  SynchronizeCall(ApiContext& api, grpc::CallbackServerContext* context,
                  const v1::SynchronizeRequest* request, v1::SynchronizeResponse* response)
      : api_(api),
        context_(context),
        reactor_(context->DefaultReactor()),
        timer_(api.metrics, "Synchronize"),
        request_(*request),
        response_(*response),
        deadline_(absl::Now() + std::clamp(FromProto(request->long_poll()), absl::ZeroDuration(),
                                           api.limits.long_poll)) {}

  grpc::ServerUnaryReactor* reactor() const { return reactor_; }

  void Start() {
    // Fields of a newer worker are read past; see worker_service.proto.
    const absl::Status status = CheckSynchronize(request_, api_.limits);
    if (!status.ok()) return End(status);
    api_.executor.Run([self = shared_from_this()] { self->Look(); });
  }

 private:
  void Look() {
    // Nobody would hear the answer; above all, no work may be given to nobody.
    if (context_->IsCancelled()) {
      return End(MakeError(Reason::kCancelled, "the worker is gone"));
    }
    const std::string topic = TopicOf(request_);
    const uint64_t seen = api_.hub.Seen(topic);
    auto answer = Synchronize(api_, request_);
    if (!answer.ok()) return End(answer.status());
    const absl::Duration left = deadline_ - absl::Now();
    if (!answer->may_wait || left <= absl::ZeroDuration()) {
      response_ = std::move(answer->response);
      return End(absl::OkStatus());
    }
    if (api_.hub.stopped()) return End(ShuttingDown());
    api_.hub.Wait(topic, seen, left, [self = shared_from_this()] { self->Look(); });
  }

  void End(const absl::Status& status) { reactor_->Finish(timer_.End(status)); }

  ApiContext& api_;
  grpc::CallbackServerContext* const context_;
  grpc::ServerUnaryReactor* const reactor_;
  const CallTimer timer_;
  const v1::SynchronizeRequest& request_;
  v1::SynchronizeResponse& response_;
  const absl::Time deadline_;
};

}  // namespace

grpc::ServerUnaryReactor* WorkerService::Synchronize(grpc::CallbackServerContext* context,
                                                     const v1::SynchronizeRequest* request,
                                                     v1::SynchronizeResponse* response) {
  const auto call = std::make_shared<SynchronizeCall>(api_, context, request, response);
  grpc::ServerUnaryReactor* reactor = call->reactor();
  call->Start();
  return reactor;
}

}  // namespace quantd
