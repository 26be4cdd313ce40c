#include "blob/local_blob_store.h"

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "base/durable.h"
#include "base/error.h"
#include "base/files.h"

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

}  // namespace

absl::StatusOr<std::unique_ptr<BlobStore>> OpenLocalBlobStore(const std::string& folder) {
  QD_RETURN_IF_ERROR(MakeFoldersDurable(folder));
  return std::make_unique<LocalBlobStore>(folder);
}

}  // namespace quantd
