#include "worker/agent_command.h"

namespace quantd {

std::unique_ptr<WorkerCommand> MakeAgentCommand(CLI::App&) { return nullptr; }

}  // namespace quantd
