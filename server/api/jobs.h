// The short rpcs on jobs, their files and the workers: request in, store, response out. They block;
// run them on the executor. Each sees the jobs that are in its caller's scope, and no others.
#pragma once

#include <google/protobuf/empty.pb.h>

#include "absl/status/status.h"
#include "quantd/v1/quantization_service.pb.h"
#include "server/api/context.h"

namespace quantd {

absl::Status GetJob(ApiContext& api, const Caller& caller, const v1::GetJobRequest& request,
                    v1::Job* response);
absl::Status ListJobs(ApiContext& api, const Caller& caller, const v1::ListJobsRequest& request,
                      v1::ListJobsResponse* response);
absl::Status CancelJob(ApiContext& api, const Caller& caller, const v1::CancelJobRequest& request,
                       v1::Job* response);
absl::Status DeleteJob(ApiContext& api, const Caller& caller, const v1::DeleteJobRequest& request,
                       google::protobuf::Empty* response);
absl::Status ListArtifactFiles(ApiContext& api, const Caller& caller,
                               const v1::ListArtifactFilesRequest& request,
                               v1::ListArtifactFilesResponse* response);
absl::Status ListWorkers(ApiContext& api, const Caller& caller,
                         const v1::ListWorkersRequest& request, v1::ListWorkersResponse* response);
absl::Status DrainWorker(ApiContext& api, const Caller& caller,
                         const v1::DrainWorkerRequest& request, v1::Worker* response);
absl::Status GetCapabilities(ApiContext& api, const Caller& caller,
                             const v1::GetCapabilitiesRequest& request, v1::Capabilities* response);

}  // namespace quantd
