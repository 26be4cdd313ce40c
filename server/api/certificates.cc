#include "server/api/certificates.h"

#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <sys/stat.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/certificates.h"
#include "base/error.h"
#include "base/log.h"

namespace quantd {
namespace {

// Tells a file from one that was put in its place, whichever way that was done.
std::string StampOf(const std::string& path) {
  struct stat status{};
  if (path.empty() || ::stat(path.c_str(), &status) != 0) return "none";
  return absl::StrCat(status.st_dev, ",", status.st_ino, ",", status.st_size, ",",
                      status.st_mtim.tv_sec, ".", status.st_mtim.tv_nsec, ",",
                      status.st_ctim.tv_sec, ".", status.st_ctim.tv_nsec);
}

// Credentials whose certificates gRPC's core asks for at each handshake. gRPC's C++ has no name for
// these; its base class has all that is needed.
class RenewedCredentials final : public grpc::ServerCredentials {
 public:
  explicit RenewedCredentials(Certificates& certificates) : certificates_(certificates) {
    const bool mutual = !certificates.files().client_authority.empty();
    credentials_ = grpc_ssl_server_credentials_create_with_options(
        grpc_ssl_server_credentials_create_options_using_config_fetcher(
            mutual ? GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY
                   : GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE,
            &RenewedCredentials::Fetch, this));
  }
  ~RenewedCredentials() override { grpc_server_credentials_release(credentials_); }

  // What a processor tells is of a connection, and callers are of calls.
  void SetAuthMetadataProcessor(
      const std::shared_ptr<grpc::AuthMetadataProcessor>& /*processor*/) override {}

 private:
  int AddPortToServer(const std::string& address, grpc_server* server) override {
    return grpc_server_add_http2_port(server, address.c_str(), credentials_);
  }

  static grpc_ssl_certificate_config_reload_status Fetch(
      void* self, grpc_ssl_server_certificate_config** config) {
    return static_cast<RenewedCredentials*>(self)->FetchPems(config);
  }

  grpc_ssl_certificate_config_reload_status FetchPems(grpc_ssl_server_certificate_config** config) {
    absl::MutexLock lock(&mutex_);
    if (!certificates_.Renew(known_)) return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_UNCHANGED;
    const grpc_ssl_pem_key_cert_pair pair = {.private_key = known_.key.c_str(),
                                             .cert_chain = known_.certificate.c_str()};
    // gRPC 1.51 insists on some authority here, also when it asks clients for no certificate.
    const std::string& authority =
        known_.client_authority.empty() ? known_.certificate : known_.client_authority;
    *config = grpc_ssl_server_certificate_config_create(authority.c_str(), &pair, 1);
    return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_NEW;
  }

  Certificates& certificates_;
  grpc_server_credentials* credentials_ = nullptr;
  absl::Mutex mutex_;
  Certificates::Pems known_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace

absl::StatusOr<std::unique_ptr<Certificates>> Certificates::Open(const TlsFiles& files) {
  std::unique_ptr<Certificates> certificates(new Certificates(files));
  const std::string stamp = certificates->Stamp();
  QD_ASSIGN_OR_RETURN(Pems pems, certificates->Load());
  absl::MutexLock lock(&certificates->mutex_);
  certificates->stamp_ = stamp;
  certificates->pems_ = std::move(pems);
  return certificates;
}

absl::StatusOr<Certificates::Pems> Certificates::Load() const {
  Pems pems;
  QD_ASSIGN_OR_RETURN(pems.certificate, ReadPem("tls-cert", files_.certificate));
  QD_ASSIGN_OR_RETURN(pems.key, ReadPem("tls-key", files_.key));
  QD_RETURN_IF_ERROR(CheckCertificatePair("tls-cert and tls-key", pems.certificate, pems.key));
  if (!files_.client_authority.empty()) {
    QD_ASSIGN_OR_RETURN(pems.client_authority, ReadPem("tls-client-ca", files_.client_authority));
    QD_RETURN_IF_ERROR(CheckCertificates("tls-client-ca", pems.client_authority));
  }
  return pems;
}

std::string Certificates::Stamp() const {
  return absl::StrCat(StampOf(files_.certificate), ";", StampOf(files_.key), ";",
                      StampOf(files_.client_authority));
}

bool Certificates::Renew(Pems& known) {
  absl::MutexLock lock(&mutex_);
  // Before the files are read: a change in between is seen the next time.
  if (std::string stamp = Stamp(); stamp != stamp_) {
    stamp_ = std::move(stamp);
    if (auto loaded = Load(); loaded.ok()) {
      pems_ = *std::move(loaded);
      spdlog::info("TLS: renewed certificates are in use; the server's is good until {}",
                   absl::FormatTime(EndOfCertificate(pems_.certificate)));
    } else {
      spdlog::error("TLS: the certificates before stay in use: {}",
                    std::string(loaded.status().message()));
    }
  }
  if (known == pems_) return false;
  known = pems_;
  return true;
}

std::shared_ptr<grpc::ServerCredentials> ServerCredentialsFor(Certificates& certificates) {
  return std::make_shared<RenewedCredentials>(certificates);
}

}  // namespace quantd
