// WatchJob that survives broken connections: every event once, in order.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/status.h"
#include "client/connection.h"

namespace quantd {

struct WatchOptions {
  std::string job;             // "jobs/{id}"
  int64_t after_sequence = 0;  // the last event that the caller has
  RetryOptions retry = {.patience = absl::Minutes(2)};
  // Told about each connection that broke, before the next try. May be empty.
  std::function<void(const absl::Status&)> on_break = {};
};

bool IsFinal(v1::Job::State state);

// Calls `on_event` with each event after `after_sequence`, and returns OK after the one that makes
// the job final. Reconnects after the last event seen; nothing is lost or repeated. Errors: the
// first one of `on_event`; what the server refused; UNAVAILABLE when no event came for
// retry.patience of trying; CANCELLED when the connection's cancellation was turned on.
absl::Status WatchJob(Connection& connection, const WatchOptions& options,
                      const std::function<absl::Status(const v1::JobEvent&)>& on_event);

}  // namespace quantd
