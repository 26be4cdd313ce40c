// quantd-worker: see worker/README.md.

#include <CLI/CLI.hpp>
#include <array>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "worker/agent_command.h"
#include "worker/command.h"
#include "worker/completion_command.h"
#include "worker/runner/exit_codes.h"
#include "worker/runner/quantize_command.h"
#include "worker/runner/statistics_command.h"

namespace quantd {
namespace {

// `quantd-worker --server …` is `quantd-worker agent --server …`.
std::vector<std::string> WithCommand(std::vector<std::string> arguments, bool has_agent) {
  static constexpr std::array<std::string_view, 4> kOwn = {"-h", "--help", "--help-all",
                                                           "--version"};
  if (!has_agent || arguments.empty() || !arguments.front().starts_with('-')) return arguments;
  for (const std::string_view own : kOwn) {
    if (arguments.front() == own) return arguments;
  }
  arguments.insert(arguments.begin(), "agent");
  return arguments;
}

int Main(int argc, char** argv) {
  CLI::App app("Quantizes language models: for a quantd server, or here and now.", "quantd-worker");
  app.set_version_flag("--version", "quantd-worker " QUANTD_VERSION);
  app.set_help_all_flag("--help-all", "Help for every subcommand");
  app.require_subcommand(1);

  std::vector<std::unique_ptr<WorkerCommand>> commands;
  commands.push_back(MakeQuantizeCommand(app));
  commands.push_back(MakeStatisticsCommand(app));
  std::unique_ptr<WorkerCommand> agent = MakeAgentCommand(app);
  const bool has_agent = agent != nullptr;
  if (has_agent) commands.push_back(std::move(agent));
  commands.push_back(MakeCompletionCommand(app));

  std::vector<std::string> arguments =
      WithCommand(std::vector<std::string>(argv + 1, argv + argc), has_agent);
  try {
    // CLI11 takes the last argument first.
    app.parse(std::vector<std::string>(arguments.rbegin(), arguments.rend()));
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kExitDone : kExitRefused;
  }
  for (const auto& command : commands) {
    if (command->chosen()) return command->Run();
  }
  return kExitRefused;
}

}  // namespace
}  // namespace quantd

int main(int argc, char** argv) { return quantd::Main(argc, argv); }
