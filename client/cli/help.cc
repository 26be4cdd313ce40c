#include "client/cli/help.h"

#include <algorithm>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "base/error.h"
#include "client/cli/exit_code.h"

namespace quantd {
namespace {

constexpr size_t kWidth = 100, kLongestLabel = 26;

constexpr std::string_view kEnvironment =
    "Server: --server, else QUANTD_SERVER, else `server:` in ~/.config/quantd/config.yaml, else "
    "127.0.0.1:8470.\n"
    "stdout carries the result, stderr progress and messages. NO_COLOR turns colours off.\n";

std::string LabelOf(const FlagEntry& flag) {
  if (flag.names.empty()) return flag.value + (flag.repeatable ? "..." : "");
  std::string label = absl::StrJoin(flag.names, ", ");
  if (!flag.value.empty()) absl::StrAppend(&label, " ", flag.value);
  return label;
}

// "  label   help text", the help broken into lines beside the label.
void AppendEntry(std::string& text, const std::string& label, const std::string& help,
                 size_t label_width) {
  std::string line = "  " + label;
  const size_t indent = label_width + 4;
  if (line.size() + 2 > indent) {
    text += line + "\n";
    line.clear();
  }
  line.resize(indent, ' ');
  bool empty = true;
  for (const absl::string_view word : absl::StrSplit(help, ' ')) {
    if (!empty && line.size() + 1 + word.size() > kWidth) {
      text += line + "\n";
      line = std::string(indent, ' ');
      empty = true;
    }
    absl::StrAppend(&line, empty ? "" : " ", word);
    empty = false;
  }
  text += line + "\n";
}

size_t LabelWidth(const std::vector<FlagEntry>& flags) {
  size_t width = 0;
  for (const FlagEntry& flag : flags) {
    const size_t size = LabelOf(flag).size();
    if (size <= kLongestLabel) width = std::max(width, size);
  }
  return width;
}

void AppendFlags(std::string& text, std::string_view title, const std::vector<FlagEntry>& flags,
                 size_t width) {
  if (flags.empty()) return;
  std::vector<std::string> groups;
  for (const FlagEntry& flag : flags) {
    if (std::find(groups.begin(), groups.end(), flag.group) == groups.end()) {
      groups.push_back(flag.group);
    }
  }
  for (const std::string& group : groups) {
    text += "\n" + (group.empty() ? std::string(title) : group) + ":\n";
    for (const FlagEntry& flag : flags) {
      if (flag.group == group) AppendEntry(text, LabelOf(flag), flag.help, width);
    }
  }
}

std::string ExitCodeLines() {
  std::string text;
  for (const ExitCodeRow& row : ExitCodes()) {
    AppendEntry(text, absl::StrCat(static_cast<int>(row.code)), std::string(row.meaning), 3);
  }
  return text;
}

// The summary of a child, for the list under its parent.
const CommandEntry* Find(const std::vector<CommandEntry>& catalogue,
                         const std::vector<std::string>& path) {
  const auto found = std::find_if(catalogue.begin(), catalogue.end(),
                                  [&](const CommandEntry& entry) { return entry.path == path; });
  return found == catalogue.end() ? nullptr : &*found;
}

void AppendChildren(std::string& text, const std::vector<CommandEntry>& catalogue,
                    const CommandEntry& command) {
  if (command.children.empty()) return;
  text += "\nCommands:\n";
  for (const std::string& name : command.children) {
    std::vector<std::string> path = command.path;
    path.push_back(name);
    const CommandEntry* child = Find(catalogue, path);
    const std::string nested =
        child->children.empty() ? "" : " (" + absl::StrJoin(child->children, ", ") + ")";
    AppendEntry(text, name, child->summary + nested, 12);
  }
}

std::string Cell(std::string_view text) {
  return absl::StrReplaceAll(ToAbsl(text), {{"|", "\\|"}, {"\n", " "}, {"<", "\\<"}});
}

void AppendFlagTable(std::string& page, const std::vector<FlagEntry>& flags) {
  if (flags.empty()) return;
  page += "\n| | |\n|---|---|\n";
  for (const FlagEntry& flag : flags) {
    absl::StrAppend(&page, "| `", Cell(LabelOf(flag)), "` | ", Cell(flag.help),
                    flag.required ? " (required)" : "", " |\n");
  }
}

}  // namespace

std::string HelpText(const std::vector<CommandEntry>& catalogue, const CommandEntry& command) {
  const bool program = command.path.empty();
  std::string text = absl::StrCat("Usage: ", UsageOf(command), "\n\n", command.summary, ".\n");
  AppendChildren(text, catalogue, command);
  const std::vector<FlagEntry>& global = GlobalFlagsOf(catalogue);
  const size_t width =
      std::max({LabelWidth(command.arguments), LabelWidth(command.flags), LabelWidth(global)});
  AppendFlags(text, "Arguments", command.arguments, width);
  if (!program) AppendFlags(text, "Options", command.flags, width);
  AppendFlags(text, "Options of every command", global, width);
  absl::StrAppend(&text, "\nExit codes:\n", ExitCodeLines());
  if (program) absl::StrAppend(&text, "\n", ToAbsl(kEnvironment));
  return text;
}

std::string HelpPage(const std::vector<CommandEntry>& catalogue) {
  std::string page =
      "# quantctl\n\nThis page is what `quantctl --help-all` prints; a test keeps it in step.\n\n";
  absl::StrAppend(&page, ToAbsl(kEnvironment),
                  "\n## Exit codes\n\n| code | meaning |\n|---|---|\n");
  for (const ExitCodeRow& row : ExitCodes()) {
    absl::StrAppend(&page, "| ", static_cast<int>(row.code), " | ", Cell(row.meaning), " |\n");
  }
  page += "\n## Options of every command\n";
  AppendFlagTable(page, GlobalFlagsOf(catalogue));
  for (const CommandEntry& command : catalogue) {
    if (command.path.empty() || !command.runs) continue;
    absl::StrAppend(&page, "\n## ", absl::StrJoin(command.path, " "), "\n\n", command.summary,
                    ".\n\n```\n", UsageOf(command), "\n```\n");
    std::vector<FlagEntry> all = command.arguments;
    all.insert(all.end(), command.flags.begin(), command.flags.end());
    AppendFlagTable(page, all);
  }
  return page;
}

}  // namespace quantd
