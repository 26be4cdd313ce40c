#include "client/cli/session.h"

#include <yaml-cpp/yaml.h>

#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/files.h"
#include "base/secret_file.h"
#include "client/cli/credentials.h"
#include "client/cli/environment.h"
#include "terminal/screen.h"

namespace quantd {
namespace {

constexpr std::string_view kDefaultServer = "127.0.0.1:8470";
constexpr int64_t kMaxContextBytes = 1 << 16;

std::string ContextFile() {
  const std::string folder = ConfigFolder();
  return folder.empty() ? "" : folder + "/config.yaml";
}

// Of the flag, else of the environment, else what was kept.
std::string FirstOf(const std::string& flag, const char* environment, const std::string& kept) {
  if (!flag.empty()) return flag;
  std::string value = Environment(environment);
  return value.empty() ? kept : value;
}

absl::StatusOr<std::string> TokenFor(const GlobalFlags& flags, const std::string& kept) {
  if (!flags.token_file.empty()) return ReadSecretFile("--token-file", flags.token_file);
  if (std::string token = Environment("QUANTD_TOKEN"); !token.empty()) return token;
  const std::string file = Environment("QUANTD_TOKEN_FILE");
  if (!file.empty()) return ReadSecretFile("QUANTD_TOKEN_FILE", file);
  return kept;
}

// Empty when there is no such file or no such key.
absl::StatusOr<std::string> ServerOfContextFile() {
  const std::string path = ContextFile();
  if (path.empty() || !PathExists(path)) return "";
  QD_ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxContextBytes));
  try {
    const YAML::Node file = YAML::Load(text);
    if (file.IsMap() && file["server"]) return file["server"].as<std::string>();
    if (file.IsMap() || file.IsNull()) return "";
    return MakeError(Reason::kInvalidField, "the context file is not a map",
                     Violation{.where = path, .got = "", .wanted = "server: HOST:PORT"});
  } catch (const YAML::Exception& error) {
    return MakeError(Reason::kInvalidField, "the context file cannot be read",
                     Violation{.where = path, .got = error.what(), .wanted = "server: HOST:PORT"});
  }
}

// Targets with a scheme (dns:///…, unix:…) are gRPC's business.
bool HasPort(std::string_view address) {
  const size_t colon = address.rfind(':');
  if (colon == std::string_view::npos || colon + 1 == address.size()) return false;
  return address.substr(colon + 1).find_first_not_of("0123456789") == std::string_view::npos ||
         address.starts_with("unix:") || address.find(":///") != std::string_view::npos;
}

}  // namespace

absl::StatusOr<std::string> ServerAddress(const std::string& flag) {
  std::string address = flag, where = "--server";
  if (address.empty()) {
    address = Environment("QUANTD_SERVER");
    where = "QUANTD_SERVER";
  }
  if (address.empty()) {
    QD_ASSIGN_OR_RETURN(address, ServerOfContextFile());
    where = ContextFile();
  }
  if (address.empty()) return std::string(kDefaultServer);
  if (HasPort(address)) return address;
  return MakeError(Reason::kInvalidField, "not the address of a server",
                   Violation{.where = where, .got = address, .wanted = "HOST:PORT"});
}

absl::StatusOr<ChannelSecurity> SecurityFor(const std::string& server, const GlobalFlags& flags) {
  QD_ASSIGN_OR_RETURN(const auto kept, LoadCredentials(server));
  ChannelSecurity security = kept.value_or(ChannelSecurity{});
  QD_ASSIGN_OR_RETURN(security.token, TokenFor(flags, security.token));
  security.authority = FirstOf(flags.tls_ca, "QUANTD_CLIENT_TLS_CA", security.authority);
  security.certificate = FirstOf(flags.tls_cert, "QUANTD_CLIENT_TLS_CERT", security.certificate);
  security.key = FirstOf(flags.tls_key, "QUANTD_CLIENT_TLS_KEY", security.key);
  security.tenant = flags.tenant;
  if (flags.insecure) security.plaintext = Plaintext::kAnywhere;
  return security;
}

absl::StatusOr<Session> Session::Create(const GlobalFlags& flags, Streams streams,
                                        Cancellation& cancellation) {
  QD_ASSIGN_OR_RETURN(std::string server, ServerAddress(flags.server));
  QD_ASSIGN_OR_RETURN(const ChannelSecurity security, SecurityFor(server, flags));
  QD_ASSIGN_OR_RETURN(const auto credentials, ChannelCredentialsFor(server, security));
  auto connection = std::make_unique<Connection>(
      ConnectionOptions{
          .server = std::move(server), .security = security, .credentials = credentials},
      cancellation);
  return Session(flags, security, streams, std::move(connection));
}

int Session::columns() const { return ScreenColumns(streams_.out_descriptor); }

std::string Session::CommandLine(std::string_view rest) const {
  const std::string server = flags_.server.empty() ? "" : " --server " + flags_.server;
  return absl::StrCat("quantctl ", ToAbsl(rest), server);
}

}  // namespace quantd
