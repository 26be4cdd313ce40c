// `quantd-worker statistics merge`.
#pragma once

#include <CLI/CLI.hpp>
#include <memory>

#include "worker/command.h"

namespace quantd {

// Adds the subcommand to `app`.
std::unique_ptr<WorkerCommand> MakeStatisticsCommand(CLI::App& app);

}  // namespace quantd
