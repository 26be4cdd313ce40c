// --help of a command, and all of them as one page of Markdown: docs/cli.md.
#pragma once

#include <string>
#include <vector>

#include "client/cli/catalogue.h"

namespace quantd {

// What `quantctl COMMAND --help` prints, at most 100 columns wide.
std::string HelpText(const std::vector<CommandEntry>& catalogue, const CommandEntry& command);

// What `quantctl --help-all` prints.
std::string HelpPage(const std::vector<CommandEntry>& catalogue);

}  // namespace quantd
