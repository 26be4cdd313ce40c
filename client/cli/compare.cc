// quantctl compare: results of jobs, or folders that they were downloaded to, side by side.
#include <fmt/format.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/files.h"
#include "client/cli/command.h"
#include "client/cli/errors.h"
#include "client/cli/follow.h"
#include "client/cli/job_text.h"
#include "terminal/comparison.h"

namespace quantd {
namespace {

constexpr std::string_view kReportPath = "/quantd/report.json";
constexpr int64_t kMaxReportBytes = 256 << 20;

class Compare : public Command {
 public:
  explicit Compare(CLI::App& app) {
    app.add_option("JOB", names_,
                   "jobs/ID, or ID; or the folder of an artifact, which needs no server")
        ->required();
  }

  absl::StatusOr<ExitCode> Run(Session& session) override {
    ExitCode worst = ExitCode::kDone;
    std::vector<ComparedResult> results;
    for (const std::string& name : names_) {
      absl::StatusOr<ComparedResult> result = Read(session, name);
      if (result.ok()) {
        results.push_back(*std::move(result));
        continue;
      }
      PrintError(session, result.status());
      const ExitCode code = ExitCodeOf(result.status());
      if (code == ExitCode::kUnreachable || code == ExitCode::kInterrupted) return code;
      worst = std::max(worst, code);
    }
    MarkFrontier(results);
    if (session.json()) {
      session.PrintJson(ToJson(results));
    } else if (!results.empty()) {
      session.out() << ComparisonTable(results, session.columns())
                    << "\n* no other of these has fewer bits and a lower KL\n";
    }
    for (const std::string& line : Incomparable(results)) {
      session.err() << "warning: " << line << "\n";
    }
    return worst;
  }

 private:
  static absl::StatusOr<ComparedResult> Read(Session& session, const std::string& name) {
    ComparedResult result;
    Json json;
    if (const std::string file = ReportFile(name); file.empty()) {
      result.name = JobName(name);
      QD_ASSIGN_OR_RETURN(json, FetchReport(session, result.name));
    } else {
      result.name = name;
      QD_ASSIGN_OR_RETURN(const std::string text, ReadFile(file, kMaxReportBytes));
      QD_ASSIGN_OR_RETURN(json, ParseJson(text, file));
    }
    QD_ASSIGN_OR_RETURN(result.report, ReportFromJson(json));
    return result;
  }

  // The file to read for `name`; empty for the name of a job. A folder without a report is a
  // folder only if it is written as a path: artifacts are downloaded to ./ID.
  static std::string ReportFile(const std::string& name) {
    if (name.ends_with(".json") && PathExists(name)) return name;
    std::string file = name + std::string(kReportPath);
    const bool path = name.starts_with("/") || name.starts_with(".");
    return path || PathExists(file) ? file : "";
  }

  std::vector<std::string> names_;
};

}  // namespace

std::unique_ptr<Command> MakeCompare(CLI::App& app) { return std::make_unique<Compare>(app); }

}  // namespace quantd
