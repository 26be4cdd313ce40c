// `quantd-worker quantize MODEL --out DIR …`: the engine alone, no server. For people, with a
// progress bar and a table; for the agent, with a request file and events on a descriptor. The same
// path through the engine for both.
#pragma once

#include <CLI/CLI.hpp>
#include <memory>

#include "worker/command.h"

namespace quantd {

// Adds the subcommand to `app`, which must outlive the result. Exit codes: exit_codes.h.
std::unique_ptr<WorkerCommand> MakeQuantizeCommand(CLI::App& app);

}  // namespace quantd
