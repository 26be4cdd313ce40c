// TLS of the server, with certificates that are renewed while it runs.
#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"

namespace quantd {

struct TlsFiles {
  std::string certificate = {};       // PEM: the server's, then those up to the authority's
  std::string key = {};               // PEM
  std::string client_authority = {};  // PEM: clients need a certificate of these; empty: none
};

// What the files hold, read again when they have changed. Thread-safe.
//
// gRPC asks at each handshake, so a renewed pair counts from the next connection on and those that
// are open go on. A pair that does not fit together (one file is new, the other not yet) or cannot
// be read is logged and leaves the one before in use. gRPC 1.51 has a
// FileWatcherCertificateProvider too; that one takes what it finds, and until the second file is
// there every handshake fails.
class Certificates {
 public:
  struct Pems {
    std::string certificate, key, client_authority;
    bool operator==(const Pems&) const = default;
  };

  // INVALID_FIELD, naming the setting, for files that cannot be used.
  static absl::StatusOr<std::unique_ptr<Certificates>> Open(const TlsFiles& files);

  // Whether they have changed since `known`, which then holds the present ones.
  bool Renew(Pems& known);
  const TlsFiles& files() const { return files_; }

 private:
  explicit Certificates(TlsFiles files) : files_(std::move(files)) {}
  absl::StatusOr<Pems> Load() const;
  std::string Stamp() const;

  const TlsFiles files_;
  absl::Mutex mutex_;
  std::string stamp_ ABSL_GUARDED_BY(mutex_);  // of the files as they were looked at last
  Pems pems_ ABSL_GUARDED_BY(mutex_);
};

// Credentials for ServerBuilder. They and `certificates` must outlive the server, which asks them
// at each handshake and, as gRPC 1.51 is, does not keep them alive.
std::shared_ptr<grpc::ServerCredentials> ServerCredentialsFor(Certificates& certificates);

}  // namespace quantd
