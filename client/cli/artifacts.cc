// quantctl artifacts list, get.
#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "client/cli/command.h"
#include "client/cli/job_text.h"
#include "client/cli/message_json.h"
#include "client/cli/out_folder.h"
#include "client/download.h"
#include "terminal/figures.h"
#include "terminal/table.h"

namespace quantd {
namespace {

absl::StatusOr<Json> FilesJson(const std::vector<v1::ArtifactFile>& files) {
  Json list = Json::array();
  for (const v1::ArtifactFile& file : files) {
    QD_ASSIGN_OR_RETURN(Json json, MessageJson(file));
    list.push_back(std::move(json));
  }
  return list;
}

class ArtifactsList : public Command {
 public:
  explicit ArtifactsList(CLI::App& app) {
    app.add_option("JOB", job_, "jobs/ID, or ID")->required();
  }
  absl::StatusOr<ExitCode> Run(Session& session) override {
    QD_ASSIGN_OR_RETURN(const std::vector<v1::ArtifactFile> files,
                        session.connection().ListArtifactFiles(JobName(job_)));
    if (session.json()) {
      QD_ASSIGN_OR_RETURN(const Json json, FilesJson(files));
      session.PrintJson(json);
    } else if (files.empty()) {
      session.err() << "No files yet.\n";
    } else {
      Table table(
          {{.title = "path"}, {.title = "size", .align = Align::kRight}, {.title = "sha256"}});
      for (const v1::ArtifactFile& file : files) {
        table.Add({file.path(), HumanBytes(file.bytes()), file.sha256()});
      }
      session.out() << table.Text(session.columns());
    }
    return ExitCode::kDone;
  }

 private:
  std::string job_;
};

class ArtifactsGet : public Command {
 public:
  explicit ArtifactsGet(CLI::App& app) {
    app.add_option("JOB", job_, "jobs/ID, or ID")->required();
    app.add_option("PATH", path_, "One file of it; default all");
    app.add_option("--out", out_,
                   "Folder to write to; default ./ID. What is there already and is the same is "
                   "not fetched again")
        ->type_name("DIR");
    app.add_flag("--force", force_,
                 "Write into --out although it has other files; an older result goes first");
    app.add_flag("--stdout", to_stdout_, "Write the one file to stdout");
  }

  absl::StatusOr<ExitCode> Run(Session& session) override {
    const std::string job = JobName(job_);
    if (to_stdout_) return Print(session, job);
    QD_ASSIGN_OR_RETURN(std::vector<v1::ArtifactFile> files,
                        session.connection().ListArtifactFiles(job));
    const std::string out = out_.empty() ? "./" + job.substr(job.find('/') + 1) : out_;
    QD_RETURN_IF_ERROR(force_ ? ReplaceOlderResult(out, files) : CheckOutFolder(out, files));
    if (!path_.empty()) {
      std::erase_if(files, [&](const auto& file) { return file.path() != path_; });
    }
    if (files.empty()) {
      return MakeError(Reason::kArtifactNotFound, "nothing to download",
                       Violation{.where = job,
                                 .got = path_.empty() ? "no files" : "no file " + path_,
                                 .wanted = "a finished file"});
    }
    for (const v1::ArtifactFile& file : files) {
      QD_ASSIGN_OR_RETURN(
          const DownloadOutcome outcome,
          DownloadFile(session.connection(), {.job = job, .file = file, .folder = out}));
      session.err() << file.path() << "  " << HumanBytes(file.bytes())
                    << (outcome == DownloadOutcome::kFetched ? "  downloaded" : "  already there")
                    << std::endl;
    }
    return PrintFolder(session, out, files);
  }

 private:
  absl::StatusOr<ExitCode> Print(Session& session, const std::string& job) const {
    if (path_.empty()) {
      return MakeError(Reason::kInvalidField, "which file?",
                       Violation{.where = "--stdout", .got = "no PATH", .wanted = "JOB PATH"});
    }
    const auto sink = [&](std::string_view bytes) -> absl::Status {
      session.out().write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
      return session.out() ? absl::OkStatus() : MakeError(Reason::kIo, "cannot write to stdout");
    };
    QD_RETURN_IF_ERROR(
        ReadArtifactFile(session.connection(), {.job = job, .path = path_}, sink).status());
    return ExitCode::kDone;
  }

  static absl::StatusOr<ExitCode> PrintFolder(Session& session, const std::string& out,
                                              const std::vector<v1::ArtifactFile>& files) {
    if (session.json()) {
      QD_ASSIGN_OR_RETURN(Json list, FilesJson(files));
      session.PrintJson({{"folder", out}, {"files", std::move(list)}});
      return ExitCode::kDone;
    }
    int64_t bytes = 0;
    for (const v1::ArtifactFile& file : files) bytes += file.bytes();
    session.out() << absl::StrCat("Artifact: ", out, " (", files.size(),
                                  files.size() == 1 ? " file, " : " files, ", HumanBytes(bytes),
                                  ")\n");
    return ExitCode::kDone;
  }

  std::string job_, path_, out_;
  bool force_ = false, to_stdout_ = false;
};

}  // namespace

std::unique_ptr<Command> MakeArtifactsList(CLI::App& app) {
  return std::make_unique<ArtifactsList>(app);
}
std::unique_ptr<Command> MakeArtifactsGet(CLI::App& app) {
  return std::make_unique<ArtifactsGet>(app);
}

}  // namespace quantd
