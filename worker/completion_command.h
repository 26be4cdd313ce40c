// `quantd-worker completion bash|zsh|fish`: a script made from the flags that the program has.
#pragma once

#include <CLI/CLI.hpp>
#include <memory>

#include "worker/command.h"

namespace quantd {

// Adds the subcommand to `app`, which must outlive the result. Subcommands added later are
// completed too.
std::unique_ptr<WorkerCommand> MakeCompletionCommand(CLI::App& app);

}  // namespace quantd
