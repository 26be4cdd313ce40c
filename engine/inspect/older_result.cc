#include "engine/inspect/older_result.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/error.h"
#include "base/files.h"
#include "base/json.h"

namespace quantd {
namespace {

constexpr size_t kNamed = 3;  // files that an error names
constexpr int64_t kMaxManifestBytes = 64 << 20;
constexpr const char* kManifest = "quantd/manifest.json";

// Where a file stands in the order of removal; -1: it does not make a model.
int RankOf(const std::string& name) {
  static constexpr std::array<const char*, 3> kConfigurations = {"config.json", "params.json",
                                                                 "quantize_config.json"};
  if (std::find(kConfigurations.begin(), kConfigurations.end(), name) != kConfigurations.end()) {
    return 0;
  }
  if (absl::EndsWith(name, ".index.json")) return 1;
  for (const char* ending : {".safetensors", ".gguf", ".bin", ".pt", ".pth"}) {
    if (absl::EndsWith(name, ending)) return 2;
  }
  return -1;
}

// A manifest is a file like any other: it may say anything.
bool IsPlainPath(const std::string& path) {
  if (path.empty() || path.front() == '/') return false;
  const std::vector<std::string> parts = absl::StrSplit(path, '/');
  return std::none_of(parts.begin(), parts.end(), [](const std::string& part) {
    return part.empty() || part == "." || part == "..";
  });
}

// What a manifest of ours lists; nothing for one that cannot be read.
std::vector<std::string> Listed(const std::string& folder) {
  std::vector<std::string> paths;
  const auto text = ReadFile(absl::StrCat(folder, "/", kManifest), kMaxManifestBytes);
  if (!text.ok()) return paths;
  const auto json = ParseJson(*text, kManifest);
  if (!json.ok() || !json->is_object() || !json->contains("files")) return paths;
  for (const Json& file : (*json)["files"]) {
    if (!file.is_object() || !file.contains("path") || !file["path"].is_string()) continue;
    std::string path = file["path"].get<std::string>();
    if (IsPlainPath(path)) paths.push_back(std::move(path));
  }
  return paths;
}

}  // namespace

absl::StatusOr<std::vector<std::string>> OlderResult(const std::string& folder) {
  std::vector<std::string> found;
  if (!IsFolder(folder)) return found;
  QD_ASSIGN_OR_RETURN(std::vector<std::string> names, ListFolder(folder));
  std::erase_if(names, [](const std::string& name) { return RankOf(name) < 0; });
  std::stable_sort(names.begin(), names.end(), [](const std::string& a, const std::string& b) {
    return RankOf(a) < RankOf(b);
  });
  found = std::move(names);
  for (std::string& path : Listed(folder)) {
    if (std::find(found.begin(), found.end(), path) != found.end()) continue;
    if (PathExists(absl::StrCat(folder, "/", path))) found.push_back(std::move(path));
  }
  if (PathExists(absl::StrCat(folder, "/", kManifest))) found.emplace_back(kManifest);
  return found;
}

absl::Status CheckNoOlderResult(const std::string& folder, std::string_view flag) {
  QD_ASSIGN_OR_RETURN(std::vector<std::string> found, OlderResult(folder));
  if (found.empty()) return absl::OkStatus();
  const size_t count = found.size();
  if (count > kNamed) found.resize(kNamed);
  return MakeError(
      Reason::kInvalidField, "the output folder holds a model",
      Violation{
          .where = std::string(flag),
          .got = absl::StrCat(folder, " with ", absl::StrJoin(found, ", "),
                              count > kNamed ? absl::StrCat(" and ", count - kNamed, " more") : ""),
          .wanted = "another folder, or --force to replace what is there"});
}

absl::Status RemoveOlderResult(const std::string& folder,
                               const std::function<bool(const std::string&)>& stays) {
  QD_ASSIGN_OR_RETURN(const std::vector<std::string> found, OlderResult(folder));
  for (const std::string& path : found) {
    if (stays(path)) continue;
    const std::string full = absl::StrCat(folder, "/", path);
    std::error_code error;
    std::filesystem::remove(full, error);  // of a link the link
    if (error) return ErrnoError("cannot remove", full, error.value());
  }
  return absl::OkStatus();
}

}  // namespace quantd
