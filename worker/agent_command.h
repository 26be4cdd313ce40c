// `quantd-worker agent --server HOST:PORT`: works for a server. Implemented in agent/, or in
// no_agent/ for a build without the service.
#pragma once

#include <CLI/CLI.hpp>
#include <memory>

#include "worker/command.h"

namespace quantd {

// Adds the subcommand to `app`, which must outlive the result; nullptr in a build that has no
// agent.
std::unique_ptr<WorkerCommand> MakeAgentCommand(CLI::App& app);

}  // namespace quantd
