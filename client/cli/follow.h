// From a job that exists to its result: watch, download, table.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "client/cli/exit_code.h"
#include "client/cli/session.h"
#include "engine/types/report.h"

namespace quantd {

struct FollowOptions {
  std::string job;  // "jobs/{id}"
  std::string out =
      {};  // the folder that files are downloaded to as they are finished; empty: none
  bool events_as_json = false;  // print each event as one line of JSON instead of the result
  bool layers = false;          // one line per linear
};

// Follows the job to its end and prints the result: the table and where the artifact is, or why
// there is none. Ctrl-C (the session's cancellation) leaves the job running and says how to return;
// that, and a job that failed, are exit codes and not errors.
absl::StatusOr<ExitCode> FollowToEnd(Session& session, const FollowOptions& options);

// quantd/report.json of a job. ARTIFACT_NOT_FOUND when the job has none.
absl::StatusOr<Json> FetchReport(Session& session, const std::string& job);

}  // namespace quantd
