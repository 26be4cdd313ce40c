// A blob store in a local folder: one file per blob, moved into place by rename.

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/durable.h"
#include "base/error.h"
#include "base/files.h"
#include "blob/blob_store.h"

namespace quantd {
namespace {

namespace fs = std::filesystem;

// A second name for the file where the file system allows it, else a second file. What was at `to`
// is replaced.
absl::Status LinkOrCopy(const std::string& from, const std::string& to) {
  QD_RETURN_IF_ERROR(RemoveTree(to));
  if (link(from.c_str(), to.c_str()) == 0) return absl::OkStatus();
  return CopyFileAtomic(from, to, Durability::kNamed).status();
}

class LocalBlobStore : public BlobStore {
 public:
  explicit LocalBlobStore(std::string root) : root_(std::move(root)) {}

  absl::Status PutFile(std::string_view name, const std::string& path) override {
    QD_RETURN_IF_ERROR(CheckBlobName(name));
    const std::string target = PathOf(name);
    QD_RETURN_IF_ERROR(MakeFoldersDurable(ParentOf(target)));
    QD_ASSIGN_OR_RETURN(const bool moved, MoveFileDurable(path, target));
    if (moved) return absl::OkStatus();
    QD_RETURN_IF_ERROR(CopyFileAtomic(path, target).status());
    return RemoveTree(path);
  }

  absl::Status PutCopy(std::string_view name, const std::string& path) override {
    QD_RETURN_IF_ERROR(CheckBlobName(name));
    const std::string target = PathOf(name);
    QD_RETURN_IF_ERROR(MakeFolders(ParentOf(target)));
    return LinkOrCopy(path, target);
  }

  absl::Status GetCopy(std::string_view name, const std::string& path) const override {
    QD_RETURN_IF_ERROR(CheckBlobName(name));
    return LinkOrCopy(PathOf(name), path);
  }

  absl::StatusOr<std::unique_ptr<RandomAccessFile>> Open(std::string_view name) const override {
    QD_RETURN_IF_ERROR(CheckBlobName(name));
    const std::string path = PathOf(name);
    if (!PathExists(path)) {
      return MakeError(Reason::kArtifactNotFound, "no such blob",
                       Violation{.where = std::string(name), .got = "", .wanted = ""});
    }
    return RandomAccessFile::Open(path);
  }

  absl::StatusOr<std::vector<std::string>> List(std::string_view prefix) const override {
    QD_RETURN_IF_ERROR(CheckBlobName(prefix));
    std::vector<std::string> names;
    std::error_code error;
    const std::string folder = PathOf(prefix);
    if (!PathExists(folder)) return names;
    fs::recursive_directory_iterator entry(folder, error);
    for (; !error && entry != fs::recursive_directory_iterator(); entry.increment(error)) {
      if (entry->is_regular_file(error)) {
        names.push_back(fs::relative(entry->path(), root_, error).string());
      }
    }
    if (error) return ErrnoError("cannot list", folder, error.value());
    std::sort(names.begin(), names.end());
    return names;
  }

  absl::Status DeleteAll(std::string_view prefix) override {
    QD_RETURN_IF_ERROR(CheckBlobName(prefix));
    return RemoveTree(PathOf(prefix));
  }

 private:
  std::string PathOf(std::string_view name) const { return absl::StrCat(root_, "/", ToAbsl(name)); }

  std::string root_;
};

bool IsNameCharacter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
         c == '_' || c == '-';
}

}  // namespace

absl::Status CheckBlobName(std::string_view name) {
  const auto refuse = [&](std::string_view wanted) {
    return MakeError(
        Reason::kInvalidField, "bad blob name",
        Violation{.where = "name", .got = std::string(name), .wanted = std::string(wanted)});
  };
  if (name.empty() || name.size() > 1024) return refuse("1 to 1024 characters");
  for (const absl::string_view part : absl::StrSplit(ToAbsl(name), '/')) {
    if (part.empty() || part == "." || part == "..") return refuse("no empty part, no . and no ..");
    for (const char c : part) {
      if (!IsNameCharacter(c)) return refuse("letters, digits, '.', '_' and '-' between slashes");
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<BlobStore>> OpenBlobStore(const std::string& uri) {
  constexpr std::string_view kFile = "file://";
  if (!uri.starts_with(kFile) || uri.size() <= kFile.size() || uri[kFile.size()] != '/') {
    return MakeError(
        Reason::kInvalidField, "unknown blob store",
        Violation{.where = "blob_store", .got = uri, .wanted = "file:///absolute/folder"});
  }
  const std::string root = uri.substr(kFile.size());
  QD_RETURN_IF_ERROR(MakeFoldersDurable(root));
  return std::make_unique<LocalBlobStore>(root);
}

}  // namespace quantd
