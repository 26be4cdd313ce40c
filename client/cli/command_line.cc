#include "client/cli/command_line.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/error.h"
#include "client/cli/catalogue.h"
#include "client/cli/errors.h"
#include "client/cli/help.h"

namespace quantd {
namespace {

// --help is looked for before the parse, so that it is answered on an incomplete command line too.
bool AsksForHelp(const std::vector<std::string>& arguments) {
  for (const std::string& argument : arguments) {
    if (argument == "--") return false;
    if (argument == "--help" || argument == "-h") return true;
  }
  return false;
}

bool TakesValue(const std::vector<CommandEntry>& catalogue, const std::string& name) {
  for (const CommandEntry& command : catalogue) {
    for (const FlagEntry& flag : command.flags) {
      const bool named = std::find(flag.names.begin(), flag.names.end(), name) != flag.names.end();
      if (named && !flag.value.empty()) return true;
    }
  }
  return false;
}

// The arguments that are neither flags nor their values.
std::vector<std::string> WordsOf(const std::vector<CommandEntry>& catalogue,
                                 const std::vector<std::string>& arguments) {
  std::vector<std::string> words;
  for (size_t i = 0; i < arguments.size(); ++i) {
    if (!arguments[i].starts_with("-")) {
      words.push_back(arguments[i]);
    } else if (TakesValue(catalogue, arguments[i])) {
      ++i;
    }
  }
  return words;
}

// The deepest command that the first words name.
const CommandEntry& CommandNamed(const std::vector<CommandEntry>& catalogue,
                                 const std::vector<std::string>& words) {
  const CommandEntry* best = &catalogue.front();
  std::vector<std::string> path;
  for (const std::string& word : words) {
    path.push_back(word);
    const auto found = std::find_if(catalogue.begin(), catalogue.end(),
                                    [&](const CommandEntry& entry) { return entry.path == path; });
    if (found == catalogue.end()) break;
    best = &*found;
  }
  return *best;
}

// The word that stands where `named` wants one of its subcommands; empty when there is none.
std::string UnknownWord(const CommandEntry& named, const std::vector<std::string>& words) {
  const bool wants = !named.children.empty() && words.size() > named.path.size();
  return wants ? words[named.path.size()] : "";
}

}  // namespace

CommandLine::CommandLine() : app_("Client of quantd, the quantization service", "quantctl") {
  app_.set_help_flag();
  app_.require_subcommand(1);
  app_.add_option("--server", flags_.server, "Address of the server")->type_name("HOST:PORT");
  app_.add_flag("--json", flags_.json, "Print the result as JSON");
  app_.add_option(
          "--token-file", flags_.token_file,
          "File with the token that says who calls; else QUANTD_TOKEN, QUANTD_TOKEN_FILE, or "
          "what `quantctl login` kept")
      ->type_name("FILE");
  app_.add_option("--tls-ca", flags_.tls_ca,
                  "TLS: certificates of the server's authority (PEM), or system")
      ->type_name("FILE");
  app_.add_option("--tls-cert", flags_.tls_cert, "Certificate for a server that wants one (PEM)")
      ->type_name("FILE");
  app_.add_option("--tls-key", flags_.tls_key, "Key of --tls-cert (PEM)")->type_name("FILE");
  app_.add_flag("--insecure", flags_.insecure, "Send the token in plain text to another machine");
  app_.add_option("--tenant", flags_.tenant,
                  "For admins: whose jobs, or * for all; default: the token's own")
      ->type_name("NAME");
  // Answered before the parse; here so that help and completion know them.
  app_.add_flag("-h,--help", help_, "Print the help of the command");
  app_.add_flag("--help-all", help_all_, "Print the help of all commands, as Markdown");
  for (const CommandRow& row : Commands()) {
    const std::vector<std::string> path = absl::StrSplit(ToAbsl(row.path), ' ');
    CLI::App* parent = path.size() == 2 ? &Group(path.front()) : &app_;
    CLI::App* command = parent->add_subcommand(path.back(), std::string(row.summary));
    command->fallthrough();
    commands_.emplace_back(command, row.make(*command));
  }
}

CLI::App& CommandLine::Group(const std::string& name) {
  for (CLI::App* app :
       app_.get_subcommands([&](CLI::App* app) { return app->get_name() == name; })) {
    return *app;
  }
  const auto row = std::find_if(CommandGroups().begin(), CommandGroups().end(),
                                [&](const CommandGroup& group) { return group.name == name; });
  CLI::App* app = app_.add_subcommand(name, std::string(row->summary));
  app->fallthrough();
  app->require_subcommand(1);
  return *app;
}

// A command may hold others, which come after it: the deepest is meant.
Command* CommandLine::Chosen() const {
  Command* chosen = nullptr;
  for (const auto& [app, command] : commands_) {
    if (app->parsed()) chosen = command.get();
  }
  return chosen;
}

ExitCode CommandLine::Run(std::vector<std::string> arguments, Streams streams,
                          Cancellation& cancellation) {
  const std::vector<CommandEntry> catalogue = CatalogueOf(app_);
  if (std::find(arguments.begin(), arguments.end(), "--help-all") != arguments.end()) {
    streams.out << HelpPage(catalogue);
    return ExitCode::kDone;
  }
  const std::vector<std::string> words = WordsOf(catalogue, arguments);
  const CommandEntry& named = CommandNamed(catalogue, words);
  if (AsksForHelp(arguments)) {
    streams.out << HelpText(catalogue, named);
    return ExitCode::kDone;
  }
  if (arguments.empty()) {
    streams.err << HelpText(catalogue, named);
    return ExitCode::kRefused;
  }
  const std::string wrong = UnknownWord(named, words);
  std::reverse(arguments.begin(), arguments.end());  // as CLI11 wants it
  try {
    app_.parse(std::move(arguments));
  } catch (const CLI::ParseError& error) {
    streams.err << "quantctl: " << (wrong.empty() ? error.what() : "unknown command: " + wrong)
                << "\nUsage: " << UsageOf(named) << "\nMore: quantctl"
                << (named.path.empty() ? "" : " ") << absl::StrJoin(named.path, " ") << " --help\n";
    return ExitCode::kRefused;
  }
  absl::StatusOr<Session> session = Session::Create(flags_, streams, cancellation);
  if (!session.ok()) {
    streams.err << ErrorText(session.status());
    return ExitCodeOf(session.status());
  }
  const absl::StatusOr<ExitCode> code = Chosen()->Run(*session);
  if (code.ok()) return *code;
  PrintError(*session, code.status());
  return ExitCodeOf(code.status());
}

}  // namespace quantd
