// quantctl jobs list, get, watch, cancel, delete, report.
#include <algorithm>
#include <functional>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "base/error.h"
#include "base/files.h"
#include "client/cli/command.h"
#include "client/cli/errors.h"
#include "client/cli/follow.h"
#include "client/cli/job_text.h"
#include "client/cli/message_json.h"
#include "client/cli/out_folder.h"
#include "client/download.h"
#include "terminal/figures.h"
#include "terminal/progress_bar.h"
#include "terminal/table.h"

namespace quantd {
namespace {

constexpr int kDefaultLimit = 20, kLargestPage = 1000;
constexpr char kPagePath[] = "quantd/report.html";
constexpr int64_t kMaxPageBytes = 64 << 20;

void AddJobArgument(CLI::App& app, std::string& job) {
  app.add_option("JOB", job, "jobs/ID, or ID")->required();
}

class JobsList : public Command {
 public:
  explicit JobsList(CLI::App& app) {
    app.add_option("--state", state_,
                   "pending, running, cancelling, succeeded, failed or cancelled");
    app.add_option("--label", labels_, "KEY=VALUE that the job must carry; repeatable")
        ->type_name("KEY=VALUE")
        ->allow_extra_args(false);
    app.add_option("--filter", filter_,
                   "Conditions joined by AND on state, method, model, labels.KEY and create_time, "
                   "for example 'method = \"rtn\" AND create_time > \"2026-01-01T00:00:00Z\"'")
        ->type_name("EXPR");
    CLI::Option* limit =
        app.add_option("--limit", limit_, absl::StrCat("At most so many; default ", kDefaultLimit))
            ->type_name("N")
            ->check(CLI::Range(1, 1'000'000));
    app.add_flag("--all", all_, "All of them")->excludes(limit);
    app.add_flag("--names", names_, "Print the names alone, one per line");
  }

  absl::StatusOr<ExitCode> Run(Session& session) override {
    v1::ListJobsRequest request;
    QD_ASSIGN_OR_RETURN(*request.mutable_filter(), Filter());
    const size_t wanted = all_ ? SIZE_MAX : static_cast<size_t>(limit_);
    std::vector<v1::Job> jobs;
    do {
      request.set_page_size(static_cast<int>(std::min<size_t>(kLargestPage, wanted - jobs.size())));
      QD_ASSIGN_OR_RETURN(v1::ListJobsResponse page, session.connection().ListJobs(request));
      for (v1::Job& job : *page.mutable_jobs()) jobs.push_back(std::move(job));
      request.set_page_token(page.next_page_token());
    } while (!request.page_token().empty() && jobs.size() < wanted);
    QD_RETURN_IF_ERROR(Print(session, jobs));
    if (!request.page_token().empty()) {
      session.err() << "There are more; --limit or --all shows them.\n";
    }
    return ExitCode::kDone;
  }

 private:
  absl::StatusOr<std::string> Filter() const {
    std::vector<std::string> conditions;
    if (!filter_.empty()) conditions.push_back(filter_);
    if (!state_.empty()) conditions.push_back("state = " + absl::AsciiStrToUpper(state_));
    for (const std::string& label : labels_) {
      const size_t equals = label.find('=');
      if (equals == 0 || equals == std::string::npos) {
        return MakeError(Reason::kInvalidField, "not a label",
                         Violation{.where = "--label", .got = label, .wanted = "KEY=VALUE"});
      }
      const std::string value =
          absl::StrReplaceAll(label.substr(equals + 1), {{"\\", "\\\\"}, {"\"", "\\\""}});
      conditions.push_back(absl::StrCat("labels.", label.substr(0, equals), " = \"", value, "\""));
    }
    return absl::StrJoin(conditions, " AND ");
  }

  absl::Status Print(Session& session, const std::vector<v1::Job>& jobs) const {
    if (names_) {
      for (const v1::Job& job : jobs) session.out() << job.name() << "\n";
    } else if (session.json()) {
      QD_ASSIGN_OR_RETURN(const Json list, MessagesJson(jobs));
      session.PrintJson(list);
    } else if (jobs.empty()) {
      session.err() << "No jobs.\n";
    } else {
      session.out() << JobTable(jobs, session.columns());
    }
    return absl::OkStatus();
  }

  std::string state_, filter_;
  std::vector<std::string> labels_;
  int limit_ = kDefaultLimit;
  bool all_ = false, names_ = false;
};

class JobsGet : public Command {
 public:
  explicit JobsGet(CLI::App& app) { AddJobArgument(app, job_); }
  absl::StatusOr<ExitCode> Run(Session& session) override {
    QD_ASSIGN_OR_RETURN(const v1::Job job, session.connection().GetJob(JobName(job_)));
    if (session.json()) {
      QD_ASSIGN_OR_RETURN(const Json json, MessageJson(job));
      session.PrintJson(json);
    } else {
      session.out() << JobText(job);
    }
    return ExitCode::kDone;
  }

 private:
  std::string job_;
};

class JobsWatch : public Command {
 public:
  explicit JobsWatch(CLI::App& app) {
    AddJobArgument(app, job_);
    app.add_option("--out", out_,
                   "Download the files there too, as they are finished; what is there already and "
                   "is the same is kept")
        ->type_name("DIR");
    app.add_flag("--force", force_,
                 "Write into --out although it has other files; an older result goes first");
    app.add_flag("-v,--verbose", layers_, "One line per linear");
  }
  absl::StatusOr<ExitCode> Run(Session& session) override {
    const std::string job = JobName(job_);
    if (!out_.empty()) {
      QD_ASSIGN_OR_RETURN(const std::vector<v1::ArtifactFile> files,
                          session.connection().ListArtifactFiles(job));
      QD_RETURN_IF_ERROR(force_ ? ReplaceOlderResult(out_, files) : CheckOutFolder(out_, files));
    }
    return FollowToEnd(
        session, {.job = job, .out = out_, .events_as_json = session.json(), .layers = layers_});
  }

 private:
  std::string job_, out_;
  bool force_ = false, layers_ = false;
};

// Cancel and delete do one thing to each of several jobs.
class ForEachJob : public Command {
 public:
  // Returns what is printed for a job.
  using Act = absl::StatusOr<std::string> (*)(Session& session, const std::string& job);
  ForEachJob(CLI::App& app, Act act) : act_(act) {
    app.add_option("JOB", jobs_, "jobs/ID, or ID")->required();
  }
  absl::StatusOr<ExitCode> Run(Session& session) override {
    ExitCode worst = ExitCode::kDone;
    Json done = Json::array();
    for (const std::string& text : jobs_) {
      const std::string job = JobName(text);
      const absl::StatusOr<std::string> result = act_(session, job);
      // With one job the error is the command's; with several, each is told and the rest goes on.
      if (!result.ok() && jobs_.size() == 1) return result.status();
      if (!result.ok()) {
        session.err() << job << ": " << ErrorText(result.status());
        worst = ExitCodeOf(result.status());
        if (worst == ExitCode::kUnreachable || worst == ExitCode::kInterrupted) return worst;
      } else if (session.json()) {
        done.push_back({{"job", job}, {"state", *result}});
      } else {
        session.out() << job << "  " << *result << "\n";
      }
    }
    if (session.json()) session.PrintJson(done);
    return worst;
  }

 private:
  const Act act_;
  std::vector<std::string> jobs_;
};

absl::StatusOr<std::string> Cancel(Session& session, const std::string& job) {
  QD_ASSIGN_OR_RETURN(const v1::Job cancelled, session.connection().CancelJob(job));
  return StateText(cancelled.state());
}

absl::StatusOr<std::string> Delete(Session& session, const std::string& job) {
  QD_RETURN_IF_ERROR(session.connection().DeleteJob(job));
  return "deleted";
}

class JobsReport : public Command {
 public:
  explicit JobsReport(CLI::App& app) {
    AddJobArgument(app, job_);
    app.add_option("--html", page_, "Write the report as a page to this file, - for stdout")
        ->type_name("FILE");
  }
  absl::StatusOr<ExitCode> Run(Session& session) override {
    if (!page_.empty()) return WritePage(session);
    QD_ASSIGN_OR_RETURN(const Json json, FetchReport(session, JobName(job_)));
    if (session.json()) {
      session.PrintJson(json);
      return ExitCode::kDone;
    }
    QD_ASSIGN_OR_RETURN(const Report report, ReportFromJson(json));
    const ResultRow row = {.scheme = DescribeSchemes(report), .report = report};
    session.out() << ResultTable(std::span(&row, 1)) << "\n";
    for (const LayerReport& layer : report.layers) session.out() << DescribeLayer(layer) << "\n";
    for (const std::string& warning : report.warnings) {
      session.out() << "warning: " << Printable(warning) << "\n";
    }
    return ExitCode::kDone;
  }

 private:
  absl::StatusOr<ExitCode> WritePage(Session& session) const {
    QD_RETURN_IF_ERROR(session.connection().GetJob(JobName(job_), v1::JOB_VIEW_BASIC).status());
    QD_ASSIGN_OR_RETURN(const std::string page,
                        ReadArtifactText(session.connection(),
                                         {.job = JobName(job_), .path = kPagePath}, kMaxPageBytes));
    if (page_ == "-") {
      session.out() << page;
      return ExitCode::kDone;
    }
    QD_ASSIGN_OR_RETURN(const SealedFile written, WriteFileAtomic(page_, page));
    if (session.json()) {
      session.PrintJson({{"file", page_}, {"bytes", written.bytes}});
    } else {
      session.out() << absl::StrCat("Page: ", page_, " (", HumanBytes(written.bytes), ")\n");
    }
    return ExitCode::kDone;
  }

  std::string job_, page_;
};

}  // namespace

std::unique_ptr<Command> MakeJobsList(CLI::App& app) { return std::make_unique<JobsList>(app); }
std::unique_ptr<Command> MakeJobsGet(CLI::App& app) { return std::make_unique<JobsGet>(app); }
std::unique_ptr<Command> MakeJobsWatch(CLI::App& app) { return std::make_unique<JobsWatch>(app); }
std::unique_ptr<Command> MakeJobsCancel(CLI::App& app) {
  return std::make_unique<ForEachJob>(app, Cancel);
}
std::unique_ptr<Command> MakeJobsDelete(CLI::App& app) {
  return std::make_unique<ForEachJob>(app, Delete);
}
std::unique_ptr<Command> MakeJobsReport(CLI::App& app) { return std::make_unique<JobsReport>(app); }

}  // namespace quantd
