#include "client/cli/exit_code.h"

#include <array>

#include "base/error.h"

namespace quantd {
namespace {

constexpr std::array kRows = std::to_array<ExitCodeRow>({
    {ExitCode::kDone, "done"},
    {ExitCode::kJobFailed,
     "the job failed or was cancelled, or something broke on the way (disk full, damaged file)"},
    {ExitCode::kRefused, "bad usage, or the server refused the request"},
    {ExitCode::kUnreachable, "the server could not be reached"},
    {ExitCode::kGateMissed, "the result missed the quality gate; its files are kept"},
    {ExitCode::kProblemsFound, "inspect found problems in the model"},
    {ExitCode::kInterrupted, "interrupted; a job that was submitted goes on"},
});

}  // namespace

std::span<const ExitCodeRow> ExitCodes() { return kRows; }

ExitCode ExitCodeOf(const absl::Status& status) {
  if (ReasonOf(status) == Reason::kQualityGate) return ExitCode::kGateMissed;
  switch (status.code()) {
    case absl::StatusCode::kOk:
      return ExitCode::kDone;
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kDeadlineExceeded:
      return ExitCode::kUnreachable;
    case absl::StatusCode::kCancelled:
      return ExitCode::kInterrupted;
    case absl::StatusCode::kInternal:
    case absl::StatusCode::kDataLoss:
    case absl::StatusCode::kUnknown:
    case absl::StatusCode::kAborted:
      break;
    case absl::StatusCode::kResourceExhausted:
      // A full disk is here, a full queue is the server's refusal.
      return ReasonOf(status) == Reason::kDiskFull ? ExitCode::kJobFailed : ExitCode::kRefused;
    default:
      return ExitCode::kRefused;
  }
  // A model that contradicts itself is refused as DATA_LOSS.
  const auto reason = ReasonOf(status);
  const bool users = reason.has_value() && RowOf(*reason).fault == Fault::kUser;
  return users ? ExitCode::kRefused : ExitCode::kJobFailed;
}

ExitCode ExitCodeOf(const v1::Job& job) {
  switch (job.state()) {
    case v1::Job::FAILED:
      return job.error().reason() == RowOf(Reason::kQualityGate).name ? ExitCode::kGateMissed
                                                                      : ExitCode::kJobFailed;
    case v1::Job::CANCELLED:
      return ExitCode::kJobFailed;
    default:
      return ExitCode::kDone;
  }
}

}  // namespace quantd
