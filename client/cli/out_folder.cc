#include "client/cli/out_folder.h"

#include <algorithm>
#include <filesystem>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/error.h"
#include "client/download.h"
#include "engine/inspect/older_result.h"
#include "engine/types/model_title.h"

namespace quantd {
namespace {

namespace fs = std::filesystem;

constexpr size_t kNamed = 3;  // files that an error names

absl::Status NotAFolder(const std::string& folder, const std::string& why) {
  return MakeError(
      Reason::kInvalidField, "cannot write there",
      Violation{.where = "--out", .got = absl::StrCat(folder, " ", why), .wanted = "a folder"});
}

}  // namespace

std::string DefaultOutFolder(std::string_view model, std::string_view method, int bits) {
  const std::string title = ModelTitle(model);
  return absl::StrCat("./", title.empty() ? "model" : title, "-", ToAbsl(method), "-", bits, "bit");
}

absl::Status CheckOutFolder(const std::string& folder, std::span<const v1::ArtifactFile> files) {
  std::error_code error;
  if (!fs::exists(folder, error)) return absl::OkStatus();
  if (!fs::is_directory(folder, error)) return NotAFolder(folder, "is a file");
  std::vector<std::string> others;
  for (fs::recursive_directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    if (entry->is_directory()) continue;
    const std::string path = fs::path(entry->path()).lexically_relative(folder).string();
    if (path.find(".partial-") != std::string::npos) continue;
    const auto found = std::find_if(files.begin(), files.end(),
                                    [&](const auto& file) { return file.path() == path; });
    if (found != files.end()) {
      QD_ASSIGN_OR_RETURN(const bool same, HasFile(folder, *found));
      if (same) continue;
    }
    others.push_back(path);
  }
  if (error) return NotAFolder(folder, "cannot be read: " + error.message());
  if (others.empty()) return absl::OkStatus();
  std::sort(others.begin(), others.end());
  const size_t count = others.size();
  if (count > kNamed) others.resize(kNamed);
  return MakeError(
      Reason::kInvalidField, "the output folder is not empty",
      Violation{
          .where = "--out",
          .got = absl::StrCat(folder, " with ", absl::StrJoin(others, ", "),
                              count > kNamed ? absl::StrCat(" and ", count - kNamed, " more") : ""),
          .wanted = "a new or empty folder, or --force to replace the result it holds"});
}

absl::Status ReplaceOlderResult(const std::string& folder,
                                std::span<const v1::ArtifactFile> files) {
  return RemoveOlderResult(folder, [&](const std::string& path) {
    const auto found = std::find_if(files.begin(), files.end(),
                                    [&](const auto& file) { return file.path() == path; });
    if (found == files.end()) return false;
    return HasFile(folder, *found).value_or(false);
  });
}

}  // namespace quantd
