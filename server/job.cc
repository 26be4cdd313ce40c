#include "server/job.h"

#include <array>
#include <utility>

namespace quantd {
namespace {

constexpr std::array<std::pair<JobState, std::string_view>, 6> kNames = {
    {{JobState::kPending, "PENDING"},
     {JobState::kRunning, "RUNNING"},
     {JobState::kCancelling, "CANCELLING"},
     {JobState::kSucceeded, "SUCCEEDED"},
     {JobState::kFailed, "FAILED"},
     {JobState::kCancelled, "CANCELLED"}}};

}  // namespace

std::string_view NameOf(JobState state) { return kNames[static_cast<size_t>(state)].second; }

std::optional<JobState> JobStateByName(std::string_view name) {
  for (const auto& [state, known] : kNames) {
    if (known == name) return state;
  }
  return std::nullopt;
}

Failure FailureOf(const absl::Status& status) {
  const ReasonRow& row = RowOf(ReasonOf(status).value_or(Reason::kInternal));
  return {.reason = std::string(row.name),
          .message = std::string(status.message()),
          .violations = ViolationsOf(status)};
}

}  // namespace quantd
