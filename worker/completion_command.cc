#include "worker/completion_command.h"

#include <fmt/format.h>

#include <string>
#include <vector>

#include "worker/runner/exit_codes.h"

namespace quantd {
namespace {

struct Flag {
  std::string name;  // without dashes
  std::string text;
};

void AddFlags(const CLI::App& command, std::vector<Flag>& flags) {
  for (const CLI::Option* option : command.get_options()) {
    for (const std::string& name : option->get_lnames()) {
      flags.push_back({.name = name, .text = option->get_description()});
    }
  }
  // Groups of flags are nameless subcommands.
  for (const CLI::App* group :
       command.get_subcommands([](const CLI::App* app) { return app->get_name().empty(); })) {
    AddFlags(*group, flags);
  }
}

std::vector<const CLI::App*> CommandsOf(const CLI::App& app) {
  return app.get_subcommands([](const CLI::App* command) { return !command->get_name().empty(); });
}

std::string BashScript(const CLI::App& app) {
  std::string words, cases;
  for (const CLI::App* command : CommandsOf(app)) {
    words += (words.empty() ? "" : " ") + command->get_name();
    std::vector<Flag> flags;
    AddFlags(*command, flags);
    cases += "    " + command->get_name() + ") words=\"";
    for (const Flag& flag : flags) cases += "--" + flag.name + " ";
    cases += "\" ;;\n";
  }
  return fmt::format(
      "_quantd_worker() {{\n"
      "  local word=\"${{COMP_WORDS[COMP_CWORD]}}\" words=\"{} --help --version\"\n"
      "  [ \"$COMP_CWORD\" -gt 1 ] && case \"${{COMP_WORDS[1]}}\" in\n{}  esac\n"
      "  case \"$word\" in\n"
      "    -*) COMPREPLY=($(compgen -W \"$words\" -- \"$word\")) ;;\n"
      "    *) if [ \"$COMP_CWORD\" -gt 1 ]; then COMPREPLY=($(compgen -f -- \"$word\"))\n"
      "       else COMPREPLY=($(compgen -W \"$words\" -- \"$word\")); fi ;;\n"
      "  esac\n"
      "}}\n"
      "complete -o filenames -F _quantd_worker quantd-worker\n",
      words, cases);
}

std::string FishScript(const CLI::App& app) {
  const auto quoted = [](std::string text) {
    std::erase(text, '\'');
    std::erase(text, '\\');
    return "'" + text + "'";
  };
  std::string script;
  for (const CLI::App* command : CommandsOf(app)) {
    script += fmt::format("complete -c quantd-worker -n __fish_use_subcommand -f -a {} -d {}\n",
                          command->get_name(), quoted(command->get_description()));
    std::vector<Flag> flags;
    AddFlags(*command, flags);
    for (const Flag& flag : flags) {
      script +=
          fmt::format("complete -c quantd-worker -n '__fish_seen_subcommand_from {}' -l {} -d {}\n",
                      command->get_name(), flag.name, quoted(flag.text));
    }
  }
  return script;
}

class CompletionCommand : public WorkerCommand {
 public:
  explicit CompletionCommand(CLI::App& app)
      : app_(app),
        command_(*app.add_subcommand("completion", "Print a completion script for a shell")) {
    command_.add_option("SHELL", shell_, "bash, zsh or fish")
        ->required()
        ->check(CLI::IsMember({"bash", "zsh", "fish"}));
  }
  bool chosen() const override { return command_.parsed(); }
  int Run() override {
    if (shell_ == "zsh") fmt::print("autoload -U +X bashcompinit && bashcompinit\n");
    fmt::print("{}", shell_ == "fish" ? FishScript(app_) : BashScript(app_));
    return kExitDone;
  }

 private:
  CLI::App& app_;
  CLI::App& command_;
  std::string shell_;
};

}  // namespace

std::unique_ptr<WorkerCommand> MakeCompletionCommand(CLI::App& app) {
  return std::make_unique<CompletionCommand>(app);
}

}  // namespace quantd
