// From arguments to a command that has run.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "client/cli/command.h"

namespace quantd {

// The parser with every command and flag in it. Not movable: the parser points into the commands.
class CommandLine {
 public:
  CommandLine();
  CommandLine(const CommandLine&) = delete;
  CommandLine& operator=(const CommandLine&) = delete;

  // Parses `arguments` (without the program's name), runs the command and prints its error.
  // `cancellation` is what Ctrl-C turns on.
  ExitCode Run(std::vector<std::string> arguments, Streams streams, Cancellation& cancellation);

  const CLI::App& app() const { return app_; }

 private:
  // The command that holds those of a group; made when it is first asked for.
  CLI::App& Group(const std::string& name);
  Command* Chosen() const;

  GlobalFlags flags_;
  bool help_ = false, help_all_ = false;
  CLI::App app_;
  std::vector<std::pair<CLI::App*, std::unique_ptr<Command>>> commands_;
};

}  // namespace quantd
