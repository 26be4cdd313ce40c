#include "base/durable.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <filesystem>
#include <vector>

#include "base/descriptor.h"
#include "base/error.h"
#include "base/file_faults.h"
#include "base/files.h"

namespace quantd {
namespace {

absl::Status SyncFile(const std::string& path) {
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  if (file.get() < 0) return ErrnoError("cannot open", path, errno);
  if (FileSync(file.get(), path) != 0) return ErrnoError("cannot sync", path, errno);
  return absl::OkStatus();
}

}  // namespace

std::string ParentOf(const std::string& path) {
  const std::string parent = std::filesystem::path(path).parent_path().string();
  return parent.empty() ? "." : parent;
}

absl::Status SyncFolder(const std::string& path) {
  const Descriptor folder(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (folder.get() < 0) return ErrnoError("cannot open folder", path, errno);
  if (FolderSync(folder.get(), path) != 0) return ErrnoError("cannot sync folder", path, errno);
  return absl::OkStatus();
}

absl::Status MakeFoldersDurable(const std::string& path) {
  std::vector<std::string> missing;  // deepest first
  for (std::string at = path; !PathExists(at) && at != "/" && at != "."; at = ParentOf(at)) {
    missing.push_back(at);
  }
  for (auto folder = missing.rbegin(); folder != missing.rend(); ++folder) {
    // Another thread may have made it in this moment: its name is synced all the same.
    if (::mkdir(folder->c_str(), 0777) != 0 && errno != EEXIST) {
      return ErrnoError("cannot create folder", *folder, errno);
    }
    QD_RETURN_IF_ERROR(SyncFolder(ParentOf(*folder)));
  }
  return absl::OkStatus();
}

absl::StatusOr<bool> MoveFileDurable(const std::string& from, const std::string& to) {
  QD_RETURN_IF_ERROR(SyncFile(from));
  if (FileRename(from, to) != 0) {
    if (errno == EXDEV) return false;
    return ErrnoError("cannot move", from, errno);
  }
  QD_RETURN_IF_ERROR(SyncFolder(ParentOf(to)));
  return true;
}

}  // namespace quantd
