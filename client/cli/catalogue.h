// The commands and flags as data, read off the parser: what --help, completion and docs/cli.md
// print.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

namespace quantd {

struct FlagEntry {
  std::vector<std::string> names;  // "--json", "-v"; empty for an argument that has no dashes
  std::string value;               // "N", "DIR", …; empty for a switch. The name of an argument
  std::string help;
  std::string group;  // heading; "" for the command's own flags
  bool required = false;
  bool repeatable = false;
};

struct CommandEntry {
  std::vector<std::string> path;  // {} for the program, {"jobs"}, {"jobs", "list"}
  std::string summary;
  std::vector<FlagEntry> arguments;
  std::vector<FlagEntry> flags;       // without the ones that every command has
  std::vector<std::string> children;  // names of its subcommands
  bool runs = false;                  // without one of them, too
};

// The program first, then each command after the group that holds it, in the order of the table.
std::vector<CommandEntry> CatalogueOf(const CLI::App& root);
// The flags that every command has.
const std::vector<FlagEntry>& GlobalFlagsOf(const std::vector<CommandEntry>& catalogue);

// "quantctl jobs get [OPTIONS] JOB".
std::string UsageOf(const CommandEntry& command);

}  // namespace quantd
