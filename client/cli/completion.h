// Completion scripts, made from the same catalogue as --help.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "client/cli/catalogue.h"

namespace quantd {

// "bash", "zsh", "fish".
const std::vector<std::string>& Shells();

// The script for one shell; INVALID_FIELD for another name. In all three: commands, then their
// flags, then names of jobs from the server where a command takes a job, else files.
absl::StatusOr<std::string> CompletionScript(const std::vector<CommandEntry>& catalogue,
                                             std::string_view shell);

}  // namespace quantd
