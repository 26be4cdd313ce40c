#include "client/cli/follow.h"

#include <memory>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "client/cli/display.h"
#include "client/cli/downloader.h"
#include "client/cli/errors.h"
#include "client/cli/message_json.h"
#include "client/watch.h"
#include "proto/convert.h"
#include "terminal/figures.h"
#include "terminal/table.h"

namespace quantd {
namespace {

constexpr char kReportPath[] = "quantd/report.json";
constexpr int64_t kMaxReportBytes = 256 << 20;

// How to come back to a job that goes on.
std::string ReturnText(const Session& session, const FollowOptions& options) {
  const std::string out = options.out.empty() ? "" : " --out " + options.out;
  return absl::StrCat(
      "  follow it:  ", session.CommandLine(absl::StrCat("jobs watch ", options.job, out)),
      "\n  stop it:    ", session.CommandLine("jobs cancel " + options.job), "\n");
}

bool KeepsFiles(const v1::Job& job) {
  return job.state() == v1::Job::SUCCEEDED || ExitCodeOf(job) == ExitCode::kGateMissed;
}

absl::StatusOr<ExitCode> PrintEnd(Session& session, const FollowOptions& options,
                                  const v1::Job& job, const std::vector<v1::ArtifactFile>& files) {
  const ExitCode code = ExitCodeOf(job);
  Json json = {{"job", job.name()}, {"state", v1::Job::State_Name(job.state())}};
  absl::Status error;
  if (job.has_error()) error = FromProto(job.error());
  if (!error.ok()) {
    json["error"] = ErrorJson(error);
    session.err() << job.name() << " failed: " << job.error().reason() << "\n" << ErrorText(error);
  } else if (job.state() == v1::Job::CANCELLED) {
    session.err() << job.name() << " was cancelled\n";
  }
  if (KeepsFiles(job)) {
    QD_ASSIGN_OR_RETURN(const Json report_json, FetchReport(session, job.name()));
    QD_ASSIGN_OR_RETURN(const Report report, ReportFromJson(report_json));
    int64_t bytes = 0;
    for (const v1::ArtifactFile& file : files) bytes += file.bytes();
    if (session.json()) {
      if (!options.out.empty()) json["folder"] = options.out;
      json.update(report_json);
    } else {
      const ResultRow row = {.scheme = DescribeSchemes(report), .report = report};
      session.out() << ResultTable(std::span(&row, 1)) << "\n";
      if (options.out.empty()) {
        session.out() << "Files: " << session.CommandLine("artifacts get " + job.name()) << "\n";
      } else {
        session.out() << absl::StrCat("Artifact: ", options.out, " (", files.size(), " files, ",
                                      HumanBytes(bytes), ")\n");
      }
    }
  }
  if (session.json() && !options.events_as_json) session.PrintJson(json);
  return code;
}

// Watches and downloads; the final job and its files.
struct Followed {
  v1::Job job;
  std::vector<v1::ArtifactFile> files;
};

absl::StatusOr<Followed> Follow(Session& session, const FollowOptions& options, Display& display) {
  Connection& connection = session.connection();
  std::unique_ptr<Downloader> downloader;
  if (!options.out.empty()) {
    downloader = std::make_unique<Downloader>(
        connection, options.job, options.out,
        [&](const v1::ArtifactFile& file, DownloadOutcome outcome) {
          display.Note(absl::StrCat(
              file.path(), "  ", HumanBytes(file.bytes()),
              outcome == DownloadOutcome::kFetched ? "  downloaded" : "  already there"));
        });
  }
  const auto on_event = [&](const v1::JobEvent& event) -> absl::Status {
    if (options.events_as_json) {
      QD_ASSIGN_OR_RETURN(const Json json, MessageJson(event));
      session.out() << DumpJson(json) << std::endl;
    }
    display.OnEvent(event);
    if (downloader == nullptr) return absl::OkStatus();
    if (event.has_file_sealed()) downloader->Add(event.file_sealed());
    return downloader->error();
  };
  WatchOptions watch = {.job = options.job};
  watch.on_break = [&](const absl::Status&) {
    display.SetState(absl::StrCat("no connection to ", connection.server(), "; trying again"));
  };
  QD_RETURN_IF_ERROR(WatchJob(connection, watch, on_event));
  Followed followed;
  QD_ASSIGN_OR_RETURN(followed.job, connection.GetJob(options.job, v1::JOB_VIEW_BASIC));
  if (KeepsFiles(followed.job)) {
    QD_ASSIGN_OR_RETURN(followed.files, connection.ListArtifactFiles(options.job));
  }
  if (downloader == nullptr) return followed;
  if (!KeepsFiles(followed.job)) {
    downloader->Wait().IgnoreError();
    downloader->RemoveFetched();
    return followed;
  }
  QD_RETURN_IF_ERROR(downloader->Wait());
  QD_RETURN_IF_ERROR(downloader->Complete(followed.files));
  return followed;
}

}  // namespace

absl::StatusOr<Json> FetchReport(Session& session, const std::string& job) {
  // A stream waits long for a server that went away; one that was never there is told at once.
  QD_RETURN_IF_ERROR(session.connection().GetJob(job, v1::JOB_VIEW_BASIC).status());
  QD_ASSIGN_OR_RETURN(
      const std::string text,
      ReadArtifactText(session.connection(), {.job = job, .path = kReportPath}, kMaxReportBytes));
  return ParseJson(text, kReportPath);
}

absl::StatusOr<ExitCode> FollowToEnd(Session& session, const FollowOptions& options) {
  Display display(session,
                  {.job = options.job, .bar = !options.events_as_json, .layers = options.layers});
  const absl::StatusOr<Followed> followed = Follow(session, options, display);
  display.Finish();
  if (followed.ok()) return PrintEnd(session, options, followed->job, followed->files);
  const ExitCode code = ExitCodeOf(followed.status());
  if (code == ExitCode::kInterrupted) {
    session.err() << "Interrupted. The job goes on: " << options.job << "\n"
                  << ReturnText(session, options);
    return code;
  }
  PrintError(session, followed.status());
  if (code != ExitCode::kRefused) {
    session.err() << "The job may go on: " << options.job << "\n" << ReturnText(session, options);
  }
  return code;
}

}  // namespace quantd
