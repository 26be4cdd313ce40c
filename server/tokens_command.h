// quantd tokens create | list | revoke: works on the store of a data folder, whether a server runs
// on it or not. A running server takes note at its next call.
#pragma once

#include <CLI/CLI.hpp>
#include <memory>

namespace quantd {

class TokensCommand {
 public:
  virtual ~TokensCommand() = default;
  virtual bool chosen() const = 0;
  // The exit code: 0, or 2 when refused.
  virtual int Run() = 0;
};

// Adds the commands to `app`, which must outlive what is returned.
std::unique_ptr<TokensCommand> MakeTokensCommand(CLI::App& app);

}  // namespace quantd
