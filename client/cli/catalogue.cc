#include "client/cli/catalogue.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace quantd {
namespace {

FlagEntry EntryOf(const CLI::Option& option, const std::string& group) {
  FlagEntry entry;
  for (const std::string& name : option.get_snames()) entry.names.push_back("-" + name);
  for (const std::string& name : option.get_lnames()) entry.names.push_back("--" + name);
  const bool takes_value = option.get_items_expected_max() > 0;
  if (takes_value) entry.value = option.get_type_name();
  if (entry.names.empty()) entry.value = option.get_name(true);
  entry.help = option.get_description();
  entry.group = group;
  entry.required = option.get_required();
  entry.repeatable = takes_value && option.get_expected_max() > 1;
  return entry;
}

void AddFlags(const CLI::App& app, const std::string& group, CommandEntry& entry) {
  for (const CLI::Option* option : app.get_options()) {
    if (option->get_group().empty()) continue;  // hidden
    FlagEntry flag = EntryOf(*option, group);
    (flag.names.empty() ? entry.arguments : entry.flags).push_back(std::move(flag));
  }
  // An option group of CLI11 is a subcommand without a name; its own name is in get_group().
  for (const CLI::App* child : app.get_subcommands([](const CLI::App*) { return true; })) {
    if (child->get_name().empty()) AddFlags(*child, child->get_group(), entry);
  }
}

void AddCommands(const CLI::App& app, std::vector<std::string> path,
                 std::vector<CommandEntry>& catalogue) {
  CommandEntry entry;
  entry.path = path;
  entry.summary = app.get_description();
  entry.runs = app.get_require_subcommand_min() == 0;
  AddFlags(app, "", entry);
  std::vector<const CLI::App*> children;
  for (const CLI::App* child : app.get_subcommands([](const CLI::App*) { return true; })) {
    if (child->get_name().empty()) continue;
    entry.children.push_back(child->get_name());
    children.push_back(child);
  }
  catalogue.push_back(std::move(entry));
  for (const CLI::App* child : children) {
    std::vector<std::string> below = path;
    below.push_back(child->get_name());
    AddCommands(*child, std::move(below), catalogue);
  }
}

}  // namespace

std::vector<CommandEntry> CatalogueOf(const CLI::App& root) {
  std::vector<CommandEntry> catalogue;
  AddCommands(root, {}, catalogue);
  return catalogue;
}

const std::vector<FlagEntry>& GlobalFlagsOf(const std::vector<CommandEntry>& catalogue) {
  return catalogue.front().flags;
}

std::string UsageOf(const CommandEntry& command) {
  std::string usage =
      absl::StrCat("quantctl", command.path.empty() ? "" : " ", absl::StrJoin(command.path, " "));
  if (!command.runs) return usage + " COMMAND [OPTIONS]";
  if (!command.children.empty()) usage += " [COMMAND]";
  usage += " [OPTIONS]";
  for (const FlagEntry& argument : command.arguments) {
    const std::string name = argument.value + (argument.repeatable ? "..." : "");
    usage += argument.required ? " " + name : " [" + name + "]";
  }
  return usage;
}

}  // namespace quantd
