// Who is told of a job's states, and what of that is still to be told. Plain data; the wire's
// shapes are in proto/quantd/v1/job.proto and webhooks.proto.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "server/job.h"

namespace quantd {

struct Webhook {
  std::string url = {};
  std::vector<JobState> states = {};  // that it is told of
  bool operator==(const Webhook&) const = default;
};

// The values are in databases.
enum class DeliveryState { kPending = 0, kDelivered = 1, kFailed = 2 };

// One change of state to be told to one webhook of a job. Its row is written in the transaction of
// the change, so none is lost.
struct Delivery {
  int64_t number = 0;   // grows with each delivery; set by the store
  std::string id = {};  // the same at each try; receivers know it again by that
  std::string job_id = {};
  int64_t webhook = 0;  // among those of the job, from 0
  std::string url = {};
  JobState job_state = JobState::kPending;
  absl::Time time = {};  // of the change of state
  int job_attempt = 0;
  std::optional<Failure> failure = {};
  DeliveryState state = DeliveryState::kPending;
  int attempts = 0;  // tries that have ended
  int last_status = 0;
  std::string last_error = {};
  absl::Time create_time = {};
  std::optional<absl::Time> last_attempt_time = {};
  absl::Time next_attempt_time = {};  // while pending: not before
};

}  // namespace quantd
