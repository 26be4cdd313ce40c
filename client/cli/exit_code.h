// What the program ends with. One table: the code, --help and docs/cli.md follow it.
#pragma once

#include <span>
#include <string_view>

#include "absl/status/status.h"
#include "quantd/v1/job.pb.h"

namespace quantd {

enum class ExitCode {
  kDone = 0,
  kJobFailed = 1,
  kRefused = 2,
  kUnreachable = 3,
  kGateMissed = 4,
  kProblemsFound = 6,
  kInterrupted = 130,
};

struct ExitCodeRow {
  ExitCode code;
  std::string_view meaning;
};

std::span<const ExitCodeRow> ExitCodes();

// For an error that ended a command. OK is kDone.
ExitCode ExitCodeOf(const absl::Status& status);
// For a job in a final state; kDone for one that is still open.
ExitCode ExitCodeOf(const v1::Job& job);

}  // namespace quantd
