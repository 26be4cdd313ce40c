// Our errors as gRPC carries them: status code and message, and in `grpc-status-details-bin` a
// google.rpc.Status with ErrorInfo (always), BadRequest (violations) and RetryInfo (when waiting
// helps). Used by the server and by clients.
#pragma once

#include <grpcpp/support/status.h>

#include "absl/status/status.h"

namespace quantd {

inline constexpr char kErrorDomain[] = "quantd";

// Bounded: long texts are cut and at most 16 violations are named, because a client refuses
// trailers above 8 KiB.
grpc::Status ToGrpc(const absl::Status& status);

// Reason and violations as the server sent them. Errors that gRPC itself made, without our details,
// become UNAVAILABLE, CANCELLED, … by their code, so that ReasonOf tells something useful.
absl::Status FromGrpc(const grpc::Status& status);

}  // namespace quantd
