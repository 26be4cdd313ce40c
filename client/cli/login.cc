// quantctl login, logout: keep a token for a server, and forget it.
#include <termios.h>
#include <unistd.h>

#include <filesystem>
#include <iostream>
#include <string>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/ascii.h"
#include "base/error.h"
#include "base/secret_file.h"
#include "client/cli/command.h"
#include "client/cli/credentials.h"

namespace quantd {
namespace {

// A line of stdin; typed at a terminal, it is not shown.
absl::StatusOr<std::string> AskForToken(std::ostream& prompt) {
  termios shown{};
  const bool terminal = isatty(STDIN_FILENO) == 1 && tcgetattr(STDIN_FILENO, &shown) == 0;
  const absl::Cleanup show_again = [&] {
    if (terminal) tcsetattr(STDIN_FILENO, TCSAFLUSH, &shown);
  };
  if (terminal) {
    termios hidden = shown;
    hidden.c_lflag &= ~static_cast<tcflag_t>(ECHO);
    tcsetattr(STDIN_FILENO, TCSAFLUSH, &hidden);
    prompt << "Token: " << std::flush;
  }
  std::string line;
  std::getline(std::cin, line);
  if (terminal) prompt << "\n";
  std::string token(absl::StripAsciiWhitespace(line));
  if (IsSecretText(token)) return token;
  return MakeError(Reason::kInvalidField, "refused",
                   Violation{.where = "stdin",
                             .got = token.empty() ? "nothing" : "what is no token",
                             .wanted = "a token, or --token-file FILE"});
}

// A path that is kept must mean the same from every folder.
std::string Absolute(const std::string& path) {
  if (path.empty() || path == "system") return path;
  std::error_code error;
  const auto absolute = std::filesystem::absolute(path, error);
  return error ? path : absolute.string();
}

class Login final : public Command {
 public:
  absl::StatusOr<ExitCode> Run(Session& session) override {
    ChannelSecurity security = session.security();
    const std::string& file = session.flags().token_file;
    if (file.empty()) {
      QD_ASSIGN_OR_RETURN(security.token, AskForToken(session.err()));
    } else {
      QD_ASSIGN_OR_RETURN(security.token, ReadSecretFile("--token-file", file));
    }
    const std::string server = session.connection().server();
    QD_ASSIGN_OR_RETURN(const auto credentials, ChannelCredentialsFor(server, security));
    // A token that the server does not know is not kept.
    Connection connection({.server = server, .security = security, .credentials = credentials},
                          session.cancellation());
    QD_RETURN_IF_ERROR(connection.GetCapabilities().status());
    security.authority = Absolute(security.authority);
    security.certificate = Absolute(security.certificate);
    security.key = Absolute(security.key);
    QD_RETURN_IF_ERROR(SaveCredentials(server, security));
    if (session.json()) {
      session.PrintJson(Json{{"server", server}});
    } else {
      session.out() << "logged in to " << server << "\n";
    }
    return ExitCode::kDone;
  }
};

class Logout final : public Command {
 public:
  absl::StatusOr<ExitCode> Run(Session& session) override {
    const std::string server = session.connection().server();
    QD_ASSIGN_OR_RETURN(const bool dropped, DropCredentials(server));
    if (session.json()) {
      session.PrintJson(Json{{"server", server}, {"dropped", dropped}});
    } else {
      session.out() << (dropped ? "logged out of " : "there was no token for ") << server << "\n";
    }
    return ExitCode::kDone;
  }
};

}  // namespace

std::unique_ptr<Command> MakeLogin(CLI::App& /*app*/) { return std::make_unique<Login>(); }
std::unique_ptr<Command> MakeLogout(CLI::App& /*app*/) { return std::make_unique<Logout>(); }

}  // namespace quantd
