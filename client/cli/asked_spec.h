// What is sent of a request: only what the user said. What is not said is the server's to choose,
// and may change with the server.
#pragma once

#include "base/json.h"
#include "engine/types/request.h"
#include "quantd/v1/job.pb.h"

namespace quantd {

// The spec of `request` with the fields set that `said` names (QuantizeFlags::Said), the model, and
// what a scheme or gate says, whose fields are only there when they were said.
v1::JobSpec AskedSpec(const QuantizeRequest& request, const Json& said);

}  // namespace quantd
