// How calls are run: off gRPC's threads, for a caller who may, measured, and ended with our errors.
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
#include "server/access/access_control.h"
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

// What the headers of the call say of its caller. To be read before the call's first step: they go
// with it.
Credentials CredentialsOf(const grpc::CallbackServerContext& context);

// The resource that a call is about: the one that the request names, or that it made.
template <typename Request, typename Response>
std::string ResourceOf(const Request& request, const Response& response) {
  if constexpr (requires { request.name(); }) {
    return request.name();
  } else if constexpr (requires { response.name(); }) {
    return response.name();
  } else {
    return "";
  }
}

// Whether the audit log tells of the call: one that only checks changes nothing.
template <typename Request>
bool IsAudited(const RpcRow& rpc, const Request& request) {
  if constexpr (requires { request.validate_only(); }) {
    if (request.validate_only()) return false;
  }
  return rpc.audit == Audit::kYes;
}

// Runs `work(caller, request, response)` on `executor` and ends the call with its status. Who calls
// is found on the executor of the store: strangers do not wait in the planner's queue.
template <typename Request, typename Response, typename Work>
grpc::ServerUnaryReactor* RunUnary(ApiContext& api, Executor& executor,
                                   grpc::CallbackServerContext* context, const RpcRow& rpc,
                                   const Request* request, Response* response, Work work) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  const CallTimer timer(api, rpc.method);
  absl::Status busy = CheckLoad(executor);
  busy.Update(CheckLoad(api.executor));
  if (!busy.ok()) {
    reactor->Finish(timer.End(busy));
    return reactor;
  }
  const auto end = [&api, reactor, timer, &rpc, request, response](const Caller& caller,
                                                                   const absl::Status& status) {
    if (IsAudited(rpc, *request)) {
      api.audit.Note({.caller = caller,
                      .action = std::string(rpc.method),
                      .resource = ResourceOf(*request, *response),
                      .outcome = status});
    }
    reactor->Finish(timer.End(status));
  };
  const auto serve = [end, &rpc, request, response, work = std::move(work)](const Caller& caller) {
    absl::Status status = CheckNoUnknownFields(*request, "");
    if (status.ok()) {
      // A stranger's model is read here: whatever that throws fails this call and no other.
      status = CatchExceptions(rpc.method, [&] { return work(caller, *request, response); });
    }
    end(caller, status);
  };
  api.executor.Run(
      [&api, &executor, reactor, timer, &rpc, end, serve, credentials = CredentialsOf(*context)] {
        absl::StatusOr<Caller> caller = api.access.Identify(credentials);
        // Of strangers the audit log would tell at any length.
        if (!caller.ok()) return reactor->Finish(timer.End(caller.status()));
        const absl::Status allowed = AccessControl::Authorize(rpc, credentials, *caller);
        if (!allowed.ok()) return end(*caller, allowed);
        if (&executor == &api.executor) return serve(*caller);
        executor.Run([serve, caller = *caller] { serve(caller); });
      });
  return reactor;
}

}  // namespace quantd
