#include "worker/agent/scratch.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/files.h"

namespace quantd {

absl::StatusOr<Scratch> Scratch::Open(const std::string& root, const std::string& worker) {
  QD_RETURN_IF_ERROR(MakeFolders(absl::StrCat(root, "/", worker)));
  QD_ASSIGN_OR_RETURN(const std::string path, RealPath(absl::StrCat(root, "/", worker)));
  // Beside the folder and not in it: it survives the clearing. The kernel lets go of the lock when
  // the process ends, however it ends.
  const std::string lock_file = path + ".lock";
  const int lock = open(lock_file.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600);
  if (lock < 0) return ErrnoError("cannot lock the scratch folder", lock_file, errno);
  Scratch scratch(path, lock);
  if (flock(lock, LOCK_EX | LOCK_NB) != 0) {
    return MakeError(Reason::kAlreadyExists, "refused",
                     Violation{.where = "--scratch " + path,
                               .got = "in use by another worker of this name",
                               .wanted = "another --name or --scratch"});
  }
  QD_ASSIGN_OR_RETURN(const std::vector<std::string> left, ListFolder(path));
  for (const std::string& name : left)
    QD_RETURN_IF_ERROR(RemoveTree(absl::StrCat(path, "/", name)));
  return scratch;
}

Scratch::~Scratch() {
  if (lock_ >= 0) close(lock_);
}

Scratch::Scratch(Scratch&& other) noexcept
    : path_(std::move(other.path_)), lock_(std::exchange(other.lock_, -1)) {}

}  // namespace quantd
