// How calls are run: off gRPC's threads, measured, and ended with our errors.
#pragma once

#include <grpcpp/grpcpp.h>

#include <functional>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/exceptions.h"
#include "proto/convert.h"
#include "proto/grpc_status.h"
#include "server/api/context.h"

namespace quantd {

// "OK", "NOT_FOUND", …
std::string_view NameOfCode(grpc::StatusCode code);

// Measures one call.
class CallTimer {
 public:
  CallTimer(const ApiContext& api, std::string_view method)
      : api_(&api), method_(method), start_(api.clock.Now()) {}
  // Notes the end and turns our status into gRPC's. Call once.
  grpc::Status End(const absl::Status& status) const;

 private:
  const ApiContext* api_;
  std::string_view method_;  // a literal
  absl::Time start_;
};

// UNAVAILABLE when so much waits for the executor that a call had better come back later.
absl::Status CheckLoad(const Executor& executor);
absl::Status ShuttingDown();

// Runs `work(request, response)` on the executor and ends the call with its status.
template <typename Request, typename Response, typename Work>
grpc::ServerUnaryReactor* RunUnary(ApiContext& api, Executor& executor,
                                   grpc::CallbackServerContext* context, std::string_view method,
                                   const Request* request, Response* response, Work work) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  const CallTimer timer(api, method);
  if (const absl::Status busy = CheckLoad(executor); !busy.ok()) {
    reactor->Finish(timer.End(busy));
    return reactor;
  }
  executor.Run([reactor, timer, method, request, response, work = std::move(work)] {
    absl::Status status = CheckNoUnknownFields(*request, "");
    if (status.ok()) {
      // A stranger's model is read here: whatever that throws fails this call and no other.
      status = CatchExceptions(method, [&] { return work(*request, response); });
    }
    reactor->Finish(timer.End(status));
  });
  return reactor;
}

}  // namespace quantd
