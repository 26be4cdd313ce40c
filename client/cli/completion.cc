#include "client/cli/completion.h"

#include <algorithm>
#include <functional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "base/error.h"

namespace quantd {
namespace {

using Catalogue = std::vector<CommandEntry>;

bool TakesJob(const CommandEntry& command) {
  return std::any_of(command.arguments.begin(), command.arguments.end(),
                     [](const FlagEntry& argument) { return argument.value.starts_with("JOB"); });
}

std::vector<std::string> NamesOf(const std::vector<FlagEntry>& flags, bool with_value_only) {
  std::vector<std::string> names;
  for (const FlagEntry& flag : flags) {
    if (with_value_only && flag.value.empty()) continue;
    names.insert(names.end(), flag.names.begin(), flag.names.end());
  }
  return names;
}

// What can stand where a word of `command` is to come: its subcommands, or its flags.
std::vector<std::string> WordsOf(const Catalogue& catalogue, const CommandEntry& command) {
  if (!command.children.empty()) return command.children;
  std::vector<std::string> words = NamesOf(command.flags, /*with_value_only=*/false);
  for (std::string& name : NamesOf(GlobalFlagsOf(catalogue), false)) words.push_back(name);
  return words;
}

// The words that shells list for the argument of `completion`.
std::string ArgumentWords(const CommandEntry& command) {
  return command.path == std::vector<std::string>{"completion"} ? absl::StrJoin(Shells(), " ") : "";
}

std::string BashScript(const Catalogue& catalogue) {
  std::string words, values, jobs;
  for (const CommandEntry& command : catalogue) {
    const std::string path = absl::StrJoin(command.path, " ");
    absl::StrAppend(&words, "    '", path, "') echo '",
                    absl::StrJoin(WordsOf(catalogue, command), " "), "' ;;\n");
    if (TakesJob(command)) absl::StrAppend(&jobs, jobs.empty() ? "" : "|", "'", path, "'");
    if (const std::string fixed = ArgumentWords(command); !fixed.empty()) {
      absl::StrAppend(&values, "    '", path, "') echo '", fixed, "' ;;\n");
    }
  }
  std::vector<std::string> valued = NamesOf(GlobalFlagsOf(catalogue), true);
  for (const CommandEntry& command : catalogue) {
    for (std::string& name : NamesOf(command.flags, true)) valued.push_back(std::move(name));
  }
  std::sort(valued.begin(), valued.end());
  valued.erase(std::unique(valued.begin(), valued.end()), valued.end());
  return absl::StrReplaceAll(
      R"sh(# bash completion of quantctl. To use it now:  source <(quantctl completion bash)
_quantctl_words() {
  case "$1" in
@WORDS@  esac
}

_quantctl_arguments() {
  case "$1" in
    @JOBS@) quantctl jobs list --names --limit 50 2>/dev/null ;;
@VALUES@  esac
}

_quantctl() {
  local current="${COMP_WORDS[COMP_CWORD]}" previous="${COMP_WORDS[COMP_CWORD-1]}" path="" word i skip=""
  for ((i = 1; i < COMP_CWORD; i++)); do
    word="${COMP_WORDS[i]}"
    if [[ -n "$skip" ]]; then skip=""; continue; fi
    case "$word" in
      @VALUED@) skip=1; continue ;;
      -*) continue ;;
    esac
    if [[ -n "$(_quantctl_words "${path:+$path }$word")" ]]; then path="${path:+$path }$word"; fi
  done
  COMPREPLY=()
  case "$previous" in
    @VALUED@) compopt -o default 2>/dev/null; return ;;
  esac
  local words="$(_quantctl_words "$path")"
  if [[ "$current" != -* && "$words" == -* ]]; then
    words="$(_quantctl_arguments "$path")"
    if [[ -z "$words" ]]; then compopt -o default 2>/dev/null; return; fi
  fi
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}

complete -F _quantctl quantctl
)sh",
      {{"@WORDS@", words},
       {"@JOBS@", jobs},
       {"@VALUES@", values},
       {"@VALUED@", absl::StrJoin(valued, "|")}});
}

// Inside single quotes of zsh and fish.
std::string Quoted(std::string_view text) {
  return absl::StrReplaceAll(ToAbsl(text), {{"'", ""}, {"[", "("}, {"]", ")"}, {":", " -"}});
}

void AppendZshFlags(std::string& script, const std::vector<FlagEntry>& flags) {
  for (const FlagEntry& flag : flags) {
    for (const std::string& name : flag.names) {
      absl::StrAppend(&script, "        '", flag.repeatable ? "*" : "", name, "[",
                      Quoted(flag.help), "]",
                      flag.value.empty() ? "" : ":" + Quoted(flag.value) + ":_files", "' \\\n");
    }
  }
}

std::string ZshScript(const Catalogue& catalogue) {
  std::string script =
      "#compdef quantctl\n"
      "# zsh completion of quantctl. To use it now:  source <(quantctl completion zsh)\n"
      "_quantctl_jobs() { compadd -- $(quantctl jobs list --names --limit 50 2>/dev/null) }\n\n"
      "_quantctl() {\n  local route=''\n  local -i at=2\n"
      "  while (( at < CURRENT )) && [[ $words[at] != -* ]]; do\n"
      "    case \"${route:+$route }$words[at]\" in\n      (";
  std::vector<std::string> paths;
  for (const CommandEntry& command : catalogue) {
    if (!command.path.empty()) paths.push_back("'" + absl::StrJoin(command.path, " ") + "'");
  }
  absl::StrAppend(&script, absl::StrJoin(paths, "|"),
                  ") route=\"${route:+$route }$words[at]\" ;;\n      (*) break ;;\n    esac\n"
                  "    (( at++ ))\n  done\n  case \"$route\" in\n");
  for (const CommandEntry& command : catalogue) {
    absl::StrAppend(&script, "    ('", absl::StrJoin(command.path, " "), "')\n");
    if (!command.children.empty()) {
      absl::StrAppend(&script, "      compadd -- ", absl::StrJoin(command.children, " "), "\n");
    } else {
      script += "      words=(quantctl ${words[at,-1]}); (( CURRENT -= at - 2 ))\n";
      script += "      _arguments -s \\\n";
      AppendZshFlags(script, command.flags);
      AppendZshFlags(script, GlobalFlagsOf(catalogue));
      const std::string fixed = ArgumentWords(command);
      absl::StrAppend(&script, "        '*::argument:",
                      TakesJob(command) ? "_quantctl_jobs"
                      : !fixed.empty()  ? "(" + fixed + ")"
                                        : "_files",
                      "'\n");
    }
    script += "      ;;\n";
  }
  return script +
         "  esac\n}\n\nif [[ $zsh_eval_context[-1] == loadautofunc ]]; then _quantctl \"$@\"; "
         "else compdef _quantctl quantctl; fi\n";
}

void AppendFishFlags(std::string& script, const std::string& condition,
                     const std::vector<FlagEntry>& flags) {
  for (const FlagEntry& flag : flags) {
    absl::StrAppend(&script, "complete -c quantctl", condition);
    for (const std::string& name : flag.names) {
      absl::StrAppend(&script, name.starts_with("--") ? " -l " : " -s ",
                      name.substr(name.find_first_not_of('-')));
    }
    absl::StrAppend(&script, flag.value.empty() ? "" : " -rF", " -d '", Quoted(flag.help), "'\n");
  }
}

std::string FishScript(const Catalogue& catalogue) {
  std::string script =
      "# fish completion of quantctl. To use it now:  quantctl completion fish | source\n"
      "complete -c quantctl -f\n";
  AppendFishFlags(script, "", GlobalFlagsOf(catalogue));
  for (const CommandEntry& command : catalogue) {
    if (command.path.empty()) continue;
    std::string condition = command.path.size() == 1
                                ? "__fish_use_subcommand"
                                : "__fish_seen_subcommand_from " + command.path.front();
    if (command.path.size() == 2) {
      const auto group =
          std::find_if(catalogue.begin(), catalogue.end(), [&](const CommandEntry& other) {
            return other.path == std::vector<std::string>{command.path.front()};
          });
      absl::StrAppend(&condition, "; and not __fish_seen_subcommand_from ",
                      absl::StrJoin(group->children, " "));
    }
    absl::StrAppend(&script, "complete -c quantctl -n '", condition, "' -a ", command.path.back(),
                    " -d '", Quoted(command.summary), "'\n");
  }
  for (const CommandEntry& command : catalogue) {
    if (command.path.empty() || !command.runs) continue;
    std::vector<std::string> seen;
    for (const std::string& word : command.path) {
      seen.push_back("__fish_seen_subcommand_from " + word);
    }
    const std::string condition = " -n '" + absl::StrJoin(seen, "; and ") + "'";
    AppendFishFlags(script, condition, command.flags);
    const std::string fixed = ArgumentWords(command);
    if (TakesJob(command)) {
      absl::StrAppend(&script, "complete -c quantctl", condition,
                      " -a '(quantctl jobs list --names --limit 50 2>/dev/null)'\n");
    } else if (!fixed.empty()) {
      absl::StrAppend(&script, "complete -c quantctl", condition, " -a '", fixed, "'\n");
    } else if (!command.arguments.empty()) {
      absl::StrAppend(&script, "complete -c quantctl", condition, " -F\n");
    }
  }
  return script;
}

}  // namespace

const std::vector<std::string>& Shells() {
  static const auto& shells = *new std::vector<std::string>{"bash", "zsh", "fish"};
  return shells;
}

absl::StatusOr<std::string> CompletionScript(const std::vector<CommandEntry>& catalogue,
                                             std::string_view shell) {
  if (shell == "bash") return BashScript(catalogue);
  if (shell == "zsh") return ZshScript(catalogue);
  if (shell == "fish") return FishScript(catalogue);
  return MakeError(
      Reason::kInvalidField, "no completion for this shell",
      Violation{
          .where = "SHELL", .got = std::string(shell), .wanted = absl::StrJoin(Shells(), ", ")});
}

}  // namespace quantd
