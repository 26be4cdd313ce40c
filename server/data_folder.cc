#include "server/data_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>

#include "base/error.h"
#include "base/files.h"

namespace quantd {

absl::StatusOr<std::unique_ptr<DataFolder>> DataFolder::Open(const std::string& path) {
  QD_RETURN_IF_ERROR(MakeFolders(path));
  QD_ASSIGN_OR_RETURN(const std::string resolved, RealPath(path));
  const std::string lock_path = resolved + "/quantd.lock";
  const int lock = open(lock_path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (lock < 0) return ErrnoError("cannot open", lock_path, errno);
  std::unique_ptr<DataFolder> folder(new DataFolder(resolved, lock));
  if (flock(lock, LOCK_EX | LOCK_NB) != 0) {
    return MakeError(Reason::kWrongState, "the data folder is in use",
                     Violation{.where = "data",
                               .got = resolved + ", locked by another quantd",
                               .wanted = "a folder of its own for each server"});
  }
  QD_RETURN_IF_ERROR(MakeFolders(resolved + "/blobs"));
  return folder;
}

DataFolder::~DataFolder() { close(lock_); }

absl::Status DataFolder::WriteAddresses(const std::string& grpc, const std::string& metrics) {
  return WriteFileAtomic(path_ + "/quantd.address", "grpc " + grpc + "\nmetrics " + metrics + "\n")
      .status();
}

}  // namespace quantd
