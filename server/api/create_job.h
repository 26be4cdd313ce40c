// CreateJob: everything that can be refused is refused here, then one transaction makes the job.
#pragma once

#include "absl/status/status.h"
#include "quantd/v1/quantization_service.pb.h"
#include "server/api/context.h"

namespace quantd {

absl::Status CreateJob(ApiContext& api, const Caller& caller, const v1::CreateJobRequest& request,
                       v1::Job* response);

}  // namespace quantd
