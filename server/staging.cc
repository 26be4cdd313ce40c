#include "server/staging.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "absl/strings/str_cat.h"
#include "base/durable.h"
#include "base/error.h"
#include "base/files.h"

namespace quantd {

StagedFile::~StagedFile() {
  close(descriptor_);
  staging_.Close(path_);
}

absl::Status StagedFile::Append(std::string_view bytes) {
  size_t written = 0;
  while (written < bytes.size()) {
    const ssize_t count = pwrite(descriptor_, bytes.data() + written, bytes.size() - written,
                                 size_ + static_cast<int64_t>(written));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) {
      absl::Status failed = ErrnoError("cannot write", path_, errno);
      if (ftruncate(descriptor_, size_) != 0) return ErrnoError("cannot cut", path_, errno);
      return failed;
    }
    written += static_cast<size_t>(count);
  }
  size_ += static_cast<int64_t>(bytes.size());
  return absl::OkStatus();
}

absl::Status StagedFile::Verify(const Content& content, std::string_view where) {
  QD_ASSIGN_OR_RETURN(const auto file, RandomAccessFile::Open(path_));
  QD_ASSIGN_OR_RETURN(const std::string digest, DigestOf(*file));
  if (size_ == content.bytes && digest == content.sha256) return absl::OkStatus();
  QD_RETURN_IF_ERROR(Remove());
  return MakeError(Reason::kUploadCorrupt, "the file is not what its digest says",
                   Violation{.where = std::string(where),
                             .got = absl::StrCat(size_, " bytes of sha256 ", digest),
                             .wanted = absl::StrCat(content.bytes, " bytes of sha256 ",
                                                    content.sha256, "; send it again")});
}

absl::Status StagedFile::Remove() {
  if (unlink(path_.c_str()) != 0 && errno != ENOENT) {
    return ErrnoError("cannot remove", path_, errno);
  }
  return absl::OkStatus();
}

std::string Staging::PathOf(const Content& content) const {
  return absl::StrCat(folder_, "/", content.tenant, "/", content.sha256);
}

int64_t Staging::SizeOf(const Content& content) const {
  struct stat found{};
  return stat(PathOf(content).c_str(), &found) == 0 ? found.st_size : 0;
}

absl::StatusOr<std::unique_ptr<StagedFile>> Staging::Open(const Content& content) {
  const std::string path = PathOf(content);
  {
    absl::MutexLock lock(&mutex_);
    if (!open_.insert(path).second) {
      return MakeError(Reason::kUnavailable, "another call is writing this file; try again later");
    }
  }
  absl::Status made = MakeFolders(ParentOf(path));
  int descriptor = -1;
  struct stat found{};
  if (made.ok()) {
    descriptor = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (descriptor < 0 || fstat(descriptor, &found) != 0) {
      made = ErrnoError("cannot open", path, errno);
    }
  }
  if (!made.ok()) {
    if (descriptor >= 0) close(descriptor);
    Close(path);
    return made;
  }
  return std::unique_ptr<StagedFile>(new StagedFile(*this, path, descriptor, found.st_size));
}

absl::Status Staging::Drop(const Content& content) { return RemoveTree(PathOf(content)); }

void Staging::Close(const std::string& path) {
  absl::MutexLock lock(&mutex_);
  open_.erase(path);
}

}  // namespace quantd
