#include "worker/runner/quantize_command.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <new>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/files.h"
#include "base/json.h"
#include "base/threads.h"
#include "engine/budget/choose_recipe.h"
#include "engine/flags/quantize_flags.h"
#include "engine/inspect/older_result.h"
#include "engine/plan/plan.h"
#include "engine/run/journal.h"
#include "engine/run/quantize.h"
#include "engine/types/report.h"
#include "terminal/figures.h"
#include "terminal/progress_bar.h"
#include "terminal/table.h"
#include "worker/runner/events.h"
#include "worker/runner/exit_codes.h"
#include "worker/runner/interruption.h"
#include "worker/runner/journal_flags.h"
#include "worker/runner/memory_limit.h"
#include "worker/runner/sandbox.h"

namespace quantd {
namespace {

constexpr int64_t kMaxRequestBytes = int64_t{4} << 20;

struct Options {
  std::string model, out, request_file, statistics, save_statistics, sandbox;
  std::optional<int> threads;
  int events_descriptor = -1;
  bool json = false, dry_run = false, quiet = false, verbose = false, no_sync = false,
       force = false;
};

// Shows what the engine tells to whoever is there: a person, a parent process, or both. Remembers
// the files, so that a run that does not end well can take them back.
class Audience : public ProgressSink {
 public:
  explicit Audience(const Options& options)
      : bar_({.mode =
                  options.quiet || options.events_descriptor >= 0 ? BarMode::kOff : BarMode::kAuto,
              .list_layers = options.verbose}),
        quiet_(options.quiet) {
    if (options.events_descriptor >= 0) events_.emplace(options.events_descriptor);
  }

  void OnProgress(const ProgressReport& report) override {
    bar_.OnProgress(report);
    Send(report);
  }
  void OnLayer(const LayerReport& report) override {
    bar_.OnLayer(report);
    Send(report);
  }
  void OnFile(const SealedFile& file) override {
    files_.push_back(file);
    Send(file);
  }
  void OnWarning(std::string_view text) override {
    if (!quiet_) bar_.Note("warning: " + std::string(text));
    Send(RunnerWarning{.text = std::string(text)});
  }
  // A parent that no longer listens wants no result.
  bool Cancelled() override { return Interrupted() || (events_.has_value() && events_->broken()); }

  void Send(const RunnerEvent& event) {
    if (events_.has_value()) events_->Write(event);
  }
  // Nothing is drawn from here on.
  void Finish() { bar_.Finish(); }
  const std::vector<SealedFile>& files() const { return files_; }

 private:
  ProgressBar bar_;
  bool quiet_;
  std::optional<EventWriter> events_;
  std::vector<SealedFile> files_;
};

void PrintError(const absl::Status& status) {
  const std::string_view reason = RowOf(ReasonOf(status).value_or(Reason::kInternal)).name;
  const std::vector<Violation> violations = ViolationsOf(status);
  if (violations.size() < 2) {
    fmt::print(stderr, "quantd-worker: {}: {}\n", reason, Printable(ToStd(status.message())));
    return;
  }
  fmt::print(stderr, "quantd-worker: {}: {} things are wrong\n", reason, violations.size());
  for (const Violation& violation : violations) {
    fmt::print(stderr, "  {}: got {}, wanted {}\n", Printable(violation.where),
               Printable(violation.got), Printable(violation.wanted));
  }
}

// How an error ends the process: what the user can mend before the work begins is "refused".
int ExitCodeOf(const absl::Status& status, bool while_planning) {
  const Reason reason = ReasonOf(status).value_or(Reason::kInternal);
  if (reason == Reason::kCancelled) return kExitInterrupted;
  if (reason == Reason::kRunnerMemoryLimit) return kExitNoMemory;
  return while_planning && RowOf(reason).fault == Fault::kUser ? kExitRefused : kExitFailed;
}

// Output over the model would destroy what is being read.
absl::Status CheckOutputFolder(const QuantizeRequest& request) {
  if (request.output_folder.empty()) {
    return MakeError(Reason::kInvalidField, "refused",
                     Violation{.where = "--out", .got = "nothing", .wanted = "a folder"});
  }
  if (!PathExists(request.output_folder)) return absl::OkStatus();
  QD_ASSIGN_OR_RETURN(const std::string output, RealPath(request.output_folder));
  QD_ASSIGN_OR_RETURN(std::string model, RealPath(request.model_folder));
  if (!IsFolder(model)) model = std::filesystem::path(model).parent_path().string();
  if (output == model) {
    return MakeError(
        Reason::kInvalidField, "refused",
        Violation{.where = "--out", .got = "the folder of the model", .wanted = "another folder"});
  }
  return absl::OkStatus();
}

// Makes the folder now: that it cannot be written is better known before the work than after it.
absl::Status MakeOutputFolder(const std::string& folder) {
  QD_RETURN_IF_ERROR(MakeFolders(folder));
  if (access(folder.c_str(), W_OK | X_OK) != 0) return ErrnoError("cannot write", folder, errno);
  return absl::OkStatus();
}

// Takes back what a run that failed has left: an artifact that is not whole is worth nothing to a
// person.
void RemoveFiles(const std::string& folder, const std::vector<SealedFile>& files,
                 bool folder_is_new) {
  std::error_code ignored;
  for (const SealedFile& file : files) {
    std::filesystem::remove(std::filesystem::path(folder) / file.path, ignored);
  }
  std::filesystem::remove(std::filesystem::path(folder) / "quantd", ignored);  // only if empty
  if (folder_is_new) std::filesystem::remove(folder, ignored);
}

void PrintPlan(const PlannedQuantization& planned) {
  const Plan& plan = planned.plan;
  int64_t quantized = 0;
  Json resolved = Json::array();
  for (const ResolvedLinear& linear : plan.linears) {
    if (linear.scheme.has_value()) ++quantized;
    resolved.push_back(ToJson(linear));
  }
  Report shown;
  shown.resolved_recipe = std::move(resolved);
  const auto line = [](std::string_view name, const std::string& value) {
    fmt::print("{:<16}  {}\n", name, Printable(value));
  };
  line("model", fmt::format("{}: {}, {} blocks", planned.request.model_folder, plan.model.family,
                            plan.model.blocks.size()));
  line("linears", fmt::format("{} quantized, {} left as they are", quantized,
                              static_cast<int64_t>(plan.linears.size()) - quantized));
  line("scheme", DescribeSchemes(shown));
  line("format", std::string(plan.format->name));
  line("bits per weight", fmt::format("{:.3f}", plan.bits_per_weight));
  line("size", HumanBytes(plan.bytes_original) + " -> " + HumanBytes(plan.bytes_quantized));
  line("tensor files", std::to_string(plan.shards.size()));
  line("forward pass", plan.needs_forward ? "yes" : "no");
  if (plan.calibrates) {
    line("calibration", fmt::format("{} windows of {} tokens", plan.calibration_windows,
                                    planned.request.calibration.tokens_per_sample));
  }
  line("memory, about", HumanBytes(plan.peak_memory_bytes));
  line("time, about", HumanSeconds(plan.estimated_seconds));
  if (plan.journal_bytes > 0) line("journal, at most", HumanBytes(plan.journal_bytes));
  for (const std::string& warning : plan.warnings) line("warning", warning);
}

class QuantizeCommand : public WorkerCommand {
 public:
  explicit QuantizeCommand(CLI::App& app)
      : command_(
            *app.add_subcommand("quantize", "Quantize a model here and now, without a server")),
        flags_(command_),
        journal_(command_) {
    command_.add_option("MODEL", options_.model,
                        "Folder of the model, as Hugging Face lays it out, or GGUF file");
    command_.add_option("-o,--out", options_.out, "Folder for the result; made if missing");
    command_.add_flag("--force", options_.force,
                      "Replace the result or model that --out holds; it goes before work begins");
    command_.add_option("--threads", options_.threads, "Threads; default: all CPUs")
        ->check(CLI::Range(1, 4096));
    command_.add_flag("--no-sync", options_.no_sync,
                      "Leave it to the kernel when weights reach the disk, as cp does");
    command_.add_option("--statistics", options_.statistics,
                        "Take calibration statistics from this folder; gather what it lacks");
    command_.add_option("--save-statistics", options_.save_statistics,
                        "Save calibration statistics in this folder, block by block");
    command_.add_flag("--dry-run", options_.dry_run, "Check everything and print the plan");
    command_.add_flag("--json", options_.json, "Print the report (or the plan) as JSON");
    auto* quiet = command_.add_flag("-q,--quiet", options_.quiet, "No progress and no warnings");
    command_.add_flag("-v,--verbose", options_.verbose, "A line for every layer")->excludes(quiet);
    command_.add_option("--request-file", options_.request_file,
                        "Take the request from this JSON file; flags override it");
    command_.add_option("--events-fd", options_.events_descriptor,
                        "Write events as JSON lines to this open descriptor");
    command_
        .add_option("--sandbox", options_.sandbox,
                    "Give up the network, other processes and all files but those of this "
                    "folder, and of the model and texts to read")
        ->type_name("DIR");
    command_.footer(
        "Exit codes: 0 done; 1 failed; 2 bad usage or refused; 4 gate missed; 5 out of memory; "
        "130 interrupted.");
  }

  bool chosen() const override { return command_.parsed(); }

  int Run() override {
    WatchForInterruption();
    ExitWhenOutOfMemory(options_.events_descriptor);
    Audience audience(options_);
    // The last line of defence: an exception of a library becomes an error event, not a crash.
    try {
      return RunFor(audience);
    } catch (const std::bad_alloc&) {
      return Fail(audience, MakeError(Reason::kRunnerMemoryLimit, "an allocation failed"), false);
    } catch (const std::system_error& error) {
      // A thread whose stack does not fit.
      const bool no_room = error.code() == std::errc::resource_unavailable_try_again;
      return Fail(audience,
                  MakeError(no_room ? Reason::kRunnerMemoryLimit : Reason::kInternal, error.what()),
                  false);
    } catch (const std::exception& exception) {
      return Fail(audience, MakeError(Reason::kInternal, exception.what()), false);
    }
  }

 private:
  absl::StatusOr<QuantizeRequest> ReadRequest() const {
    QuantizeRequest request;
    if (!options_.request_file.empty()) {
      QD_ASSIGN_OR_RETURN(const std::string text,
                          ReadFile(options_.request_file, kMaxRequestBytes));
      QD_ASSIGN_OR_RETURN(const Json json, ParseJson(text, options_.request_file));
      QD_ASSIGN_OR_RETURN(request, QuantizeRequestFromJson(json));
    }
    absl::Status flags = flags_.Apply(request);
    std::vector<Violation> violations = ViolationsOf(flags);
    if (!flags.ok() && violations.empty()) return flags;
    if (!options_.model.empty()) request.model_folder = options_.model;
    if (!options_.out.empty()) request.output_folder = options_.out;
    if (options_.no_sync) request.output.sync = false;
    CalibrationRequest& calibration = request.calibration;
    if (!options_.statistics.empty()) calibration.statistics_folder = options_.statistics;
    if (!options_.save_statistics.empty()) {
      calibration.save_statistics_folder = options_.save_statistics;
    }
    if (options_.threads.has_value()) request.resources.threads = *options_.threads;
    if (request.model_folder.empty()) {
      violations.push_back({.where = "MODEL", .got = "nothing", .wanted = "a folder"});
    }
    if (request.output_folder.empty() && !options_.dry_run) {
      violations.push_back({.where = "--out", .got = "nothing", .wanted = "a folder"});
    }
    if (!violations.empty()) {
      return MakeError(ReasonOf(flags).value_or(Reason::kInvalidField), "refused",
                       std::move(violations));
    }
    return request;
  }

  int RunFor(Audience& audience) {
    auto request = ReadRequest();
    if (!request.ok()) return Fail(audience, request.status(), true);
    if (!options_.sandbox.empty()) {
      const absl::Status entered = EnterSandbox(FoldersOf(*request));
      if (!entered.ok()) return Fail(audience, entered, false);
    }
    if (request->resources.max_memory_bytes > 0) {
      const int threads =
          request->resources.threads > 0 ? request->resources.threads : AvailableCpus();
      LimitData(DataLimitFor(request->resources.max_memory_bytes, threads));
    }
    auto planned = MakePlan(*request);
    if (!planned.ok()) return Fail(audience, planned.status(), true);
    if (options_.dry_run) return ShowPlan(**planned);
    if (absl::Status status = CheckOutputFolder(*request); !status.ok()) {
      return Fail(audience, status, true);
    }
    if (journal_.part()) return RunPart(audience, **planned);
    if (absl::Status status = ClearOutputFolder(*request); !status.ok()) {
      return Fail(audience, status, ReasonOf(status) == Reason::kInvalidField);
    }
    const bool folder_is_new = !PathExists(request->output_folder);
    if (absl::Status status = MakeOutputFolder(request->output_folder); !status.ok()) {
      return Fail(audience, status, false);
    }
    if (AsksForAuto(request->recipe)) {
      auto recipe = journal_.keeps(options_.events_descriptor >= 0)
                        ? ChooseRecipeOnce(*request, journal_.FolderOf(*request), audience)
                        : ChooseRecipe(*request, audience);
      if (!recipe.ok()) return Fail(audience, recipe.status(), false);
      request->recipe = *std::move(recipe);
      planned = MakePlan(*request);
      if (!planned.ok()) return Fail(audience, planned.status(), false);
    }
    const RunOptions run = journal_.OptionsFor(**planned, options_.events_descriptor >= 0);
    auto report = Quantize(**planned, audience, run);
    if (!report.ok()) {
      // The agent clears its folder itself, and may have taken files out of it already.
      if (options_.events_descriptor < 0) {
        Journal::RemoveIfEmpty(journal_.FolderOf(*request)).IgnoreError();
        RemoveFiles(request->output_folder, audience.files(), folder_is_new);
      }
      // A journal that cannot serve is found before the work begins.
      const bool insists =
          run.journaling == Journaling::kResume || run.journaling == Journaling::kAssemble;
      const int code = Fail(audience, report.status(), insists);
      TellOfJournal(run);
      return code;
    }
    return ShowResult(audience, *report, request->output_folder);
  }

  // Where a server names roots, links may lead anywhere below them.
  SandboxFolders FoldersOf(const QuantizeRequest& request) const {
    SandboxFolders folders{.readable = request.model_roots, .writable = {options_.sandbox}};
    const std::filesystem::path model(request.model_folder);
    folders.readable.push_back(IsFolder(model) ? model.string() : model.parent_path().string());
    for (const std::string& text : {request.calibration.text, request.evaluation.text}) {
      if (!text.starts_with("builtin:")) folders.readable.push_back(text);
    }
    return folders;
  }

  // No mixture of two results: an older one is refused or goes. What a run that did not end has
  // left beside its journal is no result yet.
  absl::Status ClearOutputFolder(const QuantizeRequest& request) const {
    if (Journal::IsIn(journal_.FolderOf(request))) return absl::OkStatus();
    if (options_.force) return RemoveOlderResult(request.output_folder);
    return CheckNoOlderResult(request.output_folder, "--out");
  }

  // What was done is not lost: the same command goes on.
  void TellOfJournal(const RunOptions& run) const {
    if (run.journaling == Journaling::kNone || options_.quiet) return;
    if (!Journal::IsIn(run.journal_folders.front())) return;
    fmt::print(stderr,
               "quantd-worker: what is done is kept in {}: the same command goes on from there\n",
               Printable(run.journal_folders.front()));
  }

  // Blocks or activations into a journal; what assembles them later makes the artifact.
  int RunPart(Audience& audience, const PlannedQuantization& planned) {
    const std::string folder = journal_.FolderOf(planned.request);
    const auto run = [&]() -> absl::Status {
      if (AsksForAuto(planned.request.recipe)) {
        return MakeError(Reason::kInvalidField, "refused",
                         Violation{.where = "--blocks",
                                   .got = "method auto",
                                   .wanted = "the recipe that it chose: quantd/recipe.yaml"});
      }
      QD_ASSIGN_OR_RETURN(const auto blocks, journal_.Blocks());
      QD_ASSIGN_OR_RETURN(const auto cuts, journal_.Cuts());
      if (blocks.has_value()) return QuantizeBlocks(planned, *blocks, folder, audience);
      return RelayActivations(planned, *cuts, folder, audience);
    };
    const absl::Status status = run();
    const bool refused = ReasonOf(status) == Reason::kInvalidField;
    if (!status.ok()) return Fail(audience, status, refused);
    audience.Finish();
    if (!options_.quiet) fmt::print(stderr, "kept in {}\n", Printable(folder));
    return kExitDone;
  }

  int ShowPlan(const PlannedQuantization& planned) const {
    if (options_.json) {
      fmt::print("{}", DumpJsonPretty(ToJson(planned.plan)));
    } else {
      PrintPlan(planned);
    }
    return std::fflush(stdout) == 0 ? kExitDone : kExitFailed;
  }

  int ShowResult(Audience& audience, const Report& report, const std::string& folder) const {
    audience.Finish();
    audience.Send(RunnerResult{.report = report});
    if (options_.json) {
      fmt::print("{}", DumpJsonPretty(ToJson(report)));
    } else if (options_.events_descriptor < 0) {
      const ResultRow row = {.scheme = DescribeSchemes(report), .report = report};
      fmt::print("{}", ResultTable({&row, 1}));
      std::vector<const LayerAnalysis*> analyses;
      for (const LayerReport& layer : report.layers) {
        if (layer.analysis.has_value()) analyses.push_back(&*layer.analysis);
      }
      if (!analyses.empty()) fmt::print("{}\n", DescribeAnalyses(analyses));
      if (!options_.quiet) fmt::print(stderr, "written to {}\n", folder);
    }
    if (std::fflush(stdout) != 0) return kExitFailed;
    if (report.gate.passed) return kExitDone;
    for (const std::string& missed : report.gate.missed) {
      fmt::print(stderr, "quantd-worker: QUALITY_GATE: {}\n", missed);
    }
    return kExitGateMissed;
  }

  int Fail(Audience& audience, const absl::Status& status, bool while_planning) const {
    audience.Finish();
    audience.Send(RunnerError::Of(status));
    PrintError(status);
    return ExitCodeOf(status, while_planning);
  }

  CLI::App& command_;
  Options options_;
  QuantizeFlags flags_;
  JournalFlags journal_;
};

}  // namespace

std::unique_ptr<WorkerCommand> MakeQuantizeCommand(CLI::App& app) {
  return std::make_unique<QuantizeCommand>(app);
}

}  // namespace quantd
