#include "engine/tensor/model_folder.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/descriptor.h"
#include "base/error.h"

namespace quantd {
namespace {

std::string OwnPath(int descriptor) { return absl::StrCat("/proc/self/fd/", descriptor); }

bool IsAtOrBelow(std::string_view path, std::string_view root) {
  if (root == "/") return path.starts_with('/');
  return path.starts_with(root) && (path.size() == root.size() || path[root.size()] == '/');
}

bool IsFolderAt(int folder, const std::string& name) {
  struct stat status{};
  return ::fstatat(folder, name.c_str(), &status, 0) == 0 && S_ISDIR(status.st_mode);
}

class ModelFolder : public ModelFiles {
 public:
  ModelFolder(std::string path, Descriptor folder, std::vector<std::string> roots)
      : path_(std::move(path)), folder_(std::move(folder)), roots_(std::move(roots)) {}

  const std::string& location() const override { return path_; }

  absl::StatusOr<std::vector<std::string>> List() const override {
    // A descriptor of its own: the place in the list is the descriptor's.
    const int copy = ::openat(folder_.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR* const list = copy < 0 ? nullptr : ::fdopendir(copy);
    if (list == nullptr) {
      const int error_number = errno;
      if (copy >= 0) ::close(copy);
      return ErrnoError("cannot list folder", path_, error_number);
    }
    std::vector<std::string> names;
    for (const dirent* entry = ::readdir(list); entry != nullptr; entry = ::readdir(list)) {
      if (!IsFolderAt(folder_.get(), entry->d_name)) names.emplace_back(entry->d_name);
    }
    ::closedir(list);
    std::sort(names.begin(), names.end());
    return names;
  }

  bool Has(std::string_view name) const override {
    struct stat status{};
    return CheckName(name).ok() &&
           ::fstatat(folder_.get(), std::string(name).c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0;
  }

  absl::StatusOr<std::unique_ptr<RandomAccessFile>> Open(std::string_view name) const override {
    QD_RETURN_IF_ERROR(CheckName(name));
    // Without waiting: a pipe is refused, not waited for.
    constexpr int kFlags = O_RDONLY | O_CLOEXEC | O_NONBLOCK;
    if (roots_.empty()) {
      const int file = ::openat(folder_.get(), std::string(name).c_str(), kFlags);
      if (file < 0) return OpenError(name, errno);
      return RandomAccessFile::FromDescriptor(file, Where(name));
    }
    QD_ASSIGN_OR_RETURN(const Descriptor found, FindInside(name));
    const int file = ::open(OwnPath(found.get()).c_str(), kFlags);
    if (file < 0) return OpenError(name, errno);
    return RandomAccessFile::FromDescriptor(file, Where(name));
  }

  // That every file lies inside the roots, and the folder too.
  absl::Status CheckInside() const {
    if (roots_.empty()) return absl::OkStatus();
    if (!LiesInside(folder_)) return Outside(path_);
    QD_ASSIGN_OR_RETURN(const std::vector<std::string> names, List());
    for (const std::string& name : names) QD_RETURN_IF_ERROR(FindInside(name).status());
    return absl::OkStatus();
  }

 private:
  absl::Status OpenError(std::string_view name, int error_number) const {
    if (error_number == ENOENT && Has(name)) {
      return MakeError(Reason::kModelCorrupt, "cannot open a file of the model",
                       Violation{.where = Where(name),
                                 .got = "a link to nowhere",
                                 .wanted = "the file it leads to: was a cache cleared?"});
    }
    if (error_number == ENOENT) return NoSuchFile(name);
    return ErrnoError("cannot open", Where(name), error_number);
  }

  absl::Status Outside(const std::string& where) const {
    return MakeError(Reason::kModelOutsideRoots, "refused",
                     Violation{.where = where,
                               .got = "a link out of the allowed folders, or to nowhere",
                               .wanted = "a file in the model's folder or a cache beside it"});
  }

  // The file, opened for nothing but to be looked at: neither a device nor a pipe notices.
  absl::StatusOr<Descriptor> FindInside(std::string_view name) const {
    Descriptor found(::openat(folder_.get(), std::string(name).c_str(), O_PATH | O_CLOEXEC));
    if (found.get() < 0 && !Has(name)) return NoSuchFile(name);
    if (found.get() < 0 || !LiesInside(found)) return Outside(Where(name));
    return found;
  }

  // The kernel says where what is open lies; renaming a link cannot change it any more.
  bool LiesInside(const Descriptor& found) const {
    char real[PATH_MAX];
    const ssize_t length = ::readlink(OwnPath(found.get()).c_str(), real, sizeof(real));
    if (length <= 0 || length == static_cast<ssize_t>(sizeof(real))) return false;
    const std::string_view path(real, static_cast<size_t>(length));
    return std::any_of(roots_.begin(), roots_.end(),
                       [&](const std::string& root) { return IsAtOrBelow(path, root); });
  }

  const std::string path_;
  const Descriptor folder_;
  const std::vector<std::string> roots_;
};

}  // namespace

absl::StatusOr<std::shared_ptr<const ModelFiles>> OpenModelFolder(
    const std::string& path, const ModelFolderOptions& options) {
  Descriptor folder(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (folder.get() < 0) {
    if (errno != ENOENT && errno != ENOTDIR) return ErrnoError("cannot open", path, errno);
    return MakeError(Reason::kModelNotFound, "cannot open the model",
                     Violation{.where = path,
                               .got = PathExists(path) ? "not a folder" : "nothing there",
                               .wanted = "the folder of a model"});
  }
  auto files = std::make_shared<const ModelFolder>(
      path, std::move(folder),
      std::vector<std::string>(options.roots.begin(), options.roots.end()));
  QD_RETURN_IF_ERROR(files->CheckInside());
  return files;
}

}  // namespace quantd
