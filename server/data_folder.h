// The folder that holds everything the server must keep:
//
//   quantd.lock      held while a server runs: two servers never share a folder
//   quantd.db        the store
//   blobs/           artifact files, checkpoints, uploads
//   uploads/         bytes of uploads until their file is whole
//   audit.log        who changed what, one JSON object a line
//   scratch/         of local workers
//   quantd.socket    with TLS: where local workers connect; for the server's own user
//   local-workers.token  what local workers say to be let in, while the server runs
//   quantd.address   where the server listens: "grpc host:port" and "metrics host:port", one a line
#pragma once

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace quantd {

class DataFolder {
 public:
  // Makes it if missing and takes the lock. WRONG_STATE if another process holds it.
  static absl::StatusOr<std::unique_ptr<DataFolder>> Open(const std::string& path);
  // Gives the lock back. quantd.address stays: it says where the last server listened.
  ~DataFolder();
  DataFolder(const DataFolder&) = delete;
  DataFolder& operator=(const DataFolder&) = delete;

  const std::string& path() const { return path_; }  // absolute
  std::string database_path() const { return path_ + "/quantd.db"; }
  std::string audit_path() const { return path_ + "/audit.log"; }
  std::string socket_path() const { return path_ + "/quantd.socket"; }
  std::string staging_path() const { return path_ + "/uploads"; }
  std::string blob_uri() const { return "file://" + path_ + "/blobs"; }

  absl::Status WriteAddresses(const std::string& grpc, const std::string& metrics);

 private:
  DataFolder(std::string path, int lock) : path_(std::move(path)), lock_(lock) {}
  std::string path_;
  int lock_;
};

}  // namespace quantd
