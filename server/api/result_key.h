// What two requests must have in common for one to be answered with the result of the other.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "engine/plan/plan.h"
#include "quantd/v1/job.pb.h"
#include "server/upload.h"

namespace quantd {

// SHA-256 over what decides the bytes and figures of the result: the spec without its limits of
// time, memory and threads, the engine's version, and the contents of model and texts. Contents of
// uploads are their digests. Of a folder it is every small file, and of the large ones name, size,
// time of change and samples of each tensor; of a text on the server's disk path, size and time of
// change: nothing large is read. Errors: of the disk.
absl::StatusOr<std::string> ResultKey(const v1::JobSpec& spec, const PlannedQuantization& planned,
                                      const std::vector<Upload>& uploads);

}  // namespace quantd
