// The rpc of workers. Calls that have nothing to tell wait in the hub, not on a thread.
#pragma once

#include "quantd/v1/worker_service.grpc.pb.h"
#include "server/api/context.h"

namespace quantd {

class WorkerService final : public v1::WorkerService::CallbackService {
 public:
  explicit WorkerService(ApiContext& api) : api_(api) {}

  grpc::ServerUnaryReactor* Synchronize(grpc::CallbackServerContext* context,
                                        const v1::SynchronizeRequest* request,
                                        v1::SynchronizeResponse* response) override;

 private:
  ApiContext& api_;
};

}  // namespace quantd
