// A command of quantctl, and the table of all of them. --help, completion and docs/cli.md are made
// from this table and from the flags that the commands add.
#pragma once

#include <CLI/CLI.hpp>
#include <memory>
#include <span>
#include <string_view>

#include "absl/status/statusor.h"
#include "client/cli/exit_code.h"
#include "client/cli/session.h"

namespace quantd {

// Holds the values of its flags. Made once per command line; run at most once.
class Command {
 public:
  virtual ~Command() = default;
  // An error is printed by the caller, which also maps it to an exit code.
  virtual absl::StatusOr<ExitCode> Run(Session& session) = 0;
};

struct CommandRow {
  std::string_view path;                            // "version", or "jobs list": group and name
  std::string_view summary;                         // one line
  std::unique_ptr<Command> (*make)(CLI::App& app);  // adds the flags to `app`
};

struct CommandGroup {
  std::string_view name;
  std::string_view summary;
};

std::span<const CommandRow> Commands();
std::span<const CommandGroup> CommandGroups();

// One file per family.
std::unique_ptr<Command> MakeQuantize(CLI::App& app);
std::unique_ptr<Command> MakeValidate(CLI::App& app);
std::unique_ptr<Command> MakeJobsList(CLI::App& app);
std::unique_ptr<Command> MakeJobsGet(CLI::App& app);
std::unique_ptr<Command> MakeJobsWatch(CLI::App& app);
std::unique_ptr<Command> MakeJobsCancel(CLI::App& app);
std::unique_ptr<Command> MakeJobsDelete(CLI::App& app);
std::unique_ptr<Command> MakeJobsReport(CLI::App& app);
std::unique_ptr<Command> MakeJobsDeliveries(CLI::App& app);
std::unique_ptr<Command> MakeArtifactsList(CLI::App& app);
std::unique_ptr<Command> MakeArtifactsGet(CLI::App& app);
std::unique_ptr<Command> MakeModelsPush(CLI::App& app);
std::unique_ptr<Command> MakeModelsList(CLI::App& app);
std::unique_ptr<Command> MakeModelsDelete(CLI::App& app);
std::unique_ptr<Command> MakeDatasetsPush(CLI::App& app);
std::unique_ptr<Command> MakeDatasetsList(CLI::App& app);
std::unique_ptr<Command> MakeDatasetsDelete(CLI::App& app);
std::unique_ptr<Command> MakeCompare(CLI::App& app);
std::unique_ptr<Command> MakeInspect(CLI::App& app);
std::unique_ptr<Command> MakeConvert(CLI::App& app);
std::unique_ptr<Command> MakeMethods(CLI::App& app);
std::unique_ptr<Command> MakeFormats(CLI::App& app);
std::unique_ptr<Command> MakeFamilies(CLI::App& app);
std::unique_ptr<Command> MakeWorkers(CLI::App& app);
std::unique_ptr<Command> MakeLogin(CLI::App& app);
std::unique_ptr<Command> MakeLogout(CLI::App& app);
std::unique_ptr<Command> MakeWorkersDrain(CLI::App& app);
std::unique_ptr<Command> MakeVersion(CLI::App& app);
std::unique_ptr<Command> MakeCompletion(CLI::App& app);

}  // namespace quantd
