// Synchronize, one look: takes in what a worker says and tells it what to do, in one transaction.
// See the contract in proto/quantd/v1/worker_service.proto.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "quantd/v1/worker_service.pb.h"
#include "server/api/context.h"

namespace quantd {

inline constexpr size_t kMaxEventBody = 1 << 20;

struct SynchronizeAnswer {
  v1::SynchronizeResponse response;
  // Nothing to tell: the call may wait for news of its topic.
  bool may_wait = false;
};

// The topic of the hub whose news could change the answer.
std::string TopicOf(const v1::SynchronizeRequest& request);

// Form of the request: names, sizes, numbers. INVALID_FIELD.
absl::Status CheckSynchronize(const v1::SynchronizeRequest& request, const Limits& limits);

// LEASE_LOST when the token is old or another session has the worker's name; nothing is changed
// then. May be called again for the same request: events that are stored are skipped.
absl::StatusOr<SynchronizeAnswer> Synchronize(ApiContext& api, const Caller& caller,
                                              const v1::SynchronizeRequest& request);

}  // namespace quantd
