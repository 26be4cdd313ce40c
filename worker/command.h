// One subcommand of quantd-worker. main asks each whether it was chosen.
#pragma once

#include <CLI/CLI.hpp>
#include <memory>

namespace quantd {

class WorkerCommand {
 public:
  virtual ~WorkerCommand() = default;
  // Whether the command line named it.
  virtual bool chosen() const = 0;
  // Does it. Returns the exit code.
  virtual int Run() = 0;
};

}  // namespace quantd
