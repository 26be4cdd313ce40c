#include "client/cli/session.h"

#include <yaml-cpp/yaml.h>

#include <cstdlib>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/files.h"
#include "terminal/screen.h"

namespace quantd {
namespace {

constexpr std::string_view kDefaultServer = "127.0.0.1:8470";
constexpr int64_t kMaxContextBytes = 1 << 16;

std::string Environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

std::string ContextFile() {
  const std::string config = Environment("XDG_CONFIG_HOME");
  if (!config.empty()) return config + "/quantd/config.yaml";
  const std::string home = Environment("HOME");
  return home.empty() ? "" : home + "/.config/quantd/config.yaml";
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

absl::StatusOr<Session> Session::Create(const GlobalFlags& flags, Streams streams,
                                        Cancellation& cancellation) {
  QD_ASSIGN_OR_RETURN(std::string server, ServerAddress(flags.server));
  return Session(
      flags, streams,
      std::make_unique<Connection>(ConnectionOptions{.server = std::move(server)}, cancellation));
}

int Session::columns() const { return ScreenColumns(streams_.out_descriptor); }

std::string Session::CommandLine(std::string_view rest) const {
  const std::string server = server_flag_.empty() ? "" : " --server " + server_flag_;
  return absl::StrCat("quantctl ", ToAbsl(rest), server);
}

}  // namespace quantd
