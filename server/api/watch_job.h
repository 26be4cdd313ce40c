// WatchJob: events of the past from the store, then those to come; ends after the terminal event.
#pragma once

#include <grpcpp/grpcpp.h>

#include "quantd/v1/quantization_service.pb.h"
#include "server/api/context.h"

namespace quantd {

grpc::ServerWriteReactor<v1::JobEvent>* WatchJob(ApiContext& api, Credentials credentials,
                                                 const v1::WatchJobRequest& request);

}  // namespace quantd
