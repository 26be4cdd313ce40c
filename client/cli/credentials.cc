#include "client/cli/credentials.h"

#include <utility>

#include "base/error.h"
#include "base/files.h"
#include "base/json.h"
#include "base/secret_file.h"
#include "client/cli/environment.h"

namespace quantd {
namespace {

constexpr int64_t kMaxFileBytes = 1 << 20;
constexpr char kServers[] = "servers";

absl::StatusOr<std::string> FilePath() {
  const std::string folder = ConfigFolder();
  if (!folder.empty()) return folder + "/credentials.json";
  return MakeError(Reason::kWrongState, "there is no place for a token",
                   Violation{.where = "HOME", .got = "nothing", .wanted = "a folder"});
}

// An object with an object under "servers", whatever the file holds or lacks.
absl::StatusOr<Json> Read(const std::string& path) {
  Json empty = Json::object();
  empty[kServers] = Json::object();
  if (!PathExists(path)) return empty;
  QD_RETURN_IF_ERROR(CheckPrivate(path));
  QD_ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxFileBytes));
  // The parser's own message would show a piece of the file.
  auto parsed = ParseJson(text, "credentials");
  const bool good = parsed.ok() && parsed->is_object() && parsed->contains(kServers) &&
                    (*parsed)[kServers].is_object();
  if (good) return parsed;
  return MakeError(Reason::kInvalidField, "refused",
                   Violation{.where = path,
                             .got = "what `quantctl login` did not write",
                             .wanted = "remove it and log in again"});
}

absl::Status Write(const std::string& path, const Json& file) {
  QD_RETURN_IF_ERROR(MakeFolders(ConfigFolder()));
  return WriteSecretFile(path, DumpJsonPretty(file));
}

std::string TextOf(const Json& entry, const char* key) {
  return entry.is_object() && entry.contains(key) && entry[key].is_string()
             ? entry[key].get<std::string>()
             : "";
}

}  // namespace

absl::StatusOr<std::optional<ChannelSecurity>> LoadCredentials(const std::string& server) {
  using Found = std::optional<ChannelSecurity>;
  if (ConfigFolder().empty()) return Found();
  QD_ASSIGN_OR_RETURN(const std::string path, FilePath());
  QD_ASSIGN_OR_RETURN(const Json file, Read(path));
  if (!file[kServers].contains(server)) return Found();
  const Json& entry = file[kServers][server];
  const bool insecure = TextOf(entry, "plaintext") == "anywhere";
  return Found(
      ChannelSecurity{.authority = TextOf(entry, "tls_ca"),
                      .certificate = TextOf(entry, "tls_cert"),
                      .key = TextOf(entry, "tls_key"),
                      .token = TextOf(entry, "token"),
                      .plaintext = insecure ? Plaintext::kAnywhere : Plaintext::kOnThisMachine});
}

absl::Status SaveCredentials(const std::string& server, const ChannelSecurity& security) {
  QD_ASSIGN_OR_RETURN(const std::string path, FilePath());
  QD_ASSIGN_OR_RETURN(Json file, Read(path));
  Json entry = {{"token", security.token}};
  const auto add = [&](const char* key, const std::string& value) {
    if (!value.empty()) entry[key] = value;
  };
  add("tls_ca", security.authority);
  add("tls_cert", security.certificate);
  add("tls_key", security.key);
  add("plaintext", security.plaintext == Plaintext::kAnywhere ? "anywhere" : "");
  file[kServers][server] = std::move(entry);
  return Write(path, file);
}

absl::StatusOr<bool> DropCredentials(const std::string& server) {
  QD_ASSIGN_OR_RETURN(const std::string path, FilePath());
  QD_ASSIGN_OR_RETURN(Json file, Read(path));
  if (file[kServers].erase(server) == 0) return false;
  QD_RETURN_IF_ERROR(Write(path, file));
  return true;
}

}  // namespace quantd
