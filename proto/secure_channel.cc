#include "proto/secure_channel.h"

#include <grpcpp/security/tls_certificate_provider.h>
#include <grpcpp/security/tls_credentials_options.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/address.h"
#include "base/certificates.h"
#include "base/error.h"
#include "base/secret_file.h"

namespace quantd {
namespace {

constexpr unsigned kRefreshSeconds = 30;
constexpr char kSystem[] = "system";

absl::Status Refused(std::string where, std::string got, std::string wanted) {
  return MakeError(
      Reason::kInvalidField, "refused",
      Violation{.where = std::move(where), .got = std::move(got), .wanted = std::move(wanted)});
}

// gRPC itself says no more than that it could not connect.
absl::Status CheckFiles(const ChannelSecurity& security) {
  if (security.authority != kSystem) {
    QD_ASSIGN_OR_RETURN(const std::string authority, ReadPem("--tls-ca", security.authority));
    QD_RETURN_IF_ERROR(CheckCertificates("--tls-ca", authority));
  }
  if (security.certificate.empty()) return absl::OkStatus();
  QD_ASSIGN_OR_RETURN(const std::string certificate, ReadPem("--tls-cert", security.certificate));
  QD_ASSIGN_OR_RETURN(const std::string key, ReadPem("--tls-key", security.key));
  return CheckCertificatePair("--tls-cert and --tls-key", certificate, key);
}

std::shared_ptr<grpc::ChannelCredentials> TlsCredentialsFor(const ChannelSecurity& security) {
  using grpc::experimental::FileWatcherCertificateProvider;
  grpc::experimental::TlsChannelCredentialsOptions options;
  const bool own_authority = security.authority != kSystem;
  if (own_authority || !security.certificate.empty()) {
    options.set_certificate_provider(std::make_shared<FileWatcherCertificateProvider>(
        security.key, security.certificate, own_authority ? security.authority : "",
        kRefreshSeconds));
  }
  if (own_authority) options.watch_root_certs();
  if (!security.certificate.empty()) options.watch_identity_key_cert_pairs();
  return grpc::experimental::TlsCredentials(options);
}

}  // namespace

absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> ChannelCredentialsFor(
    const std::string& server, const ChannelSecurity& security) {
  // gRPC ends the process when a header holds anything else.
  for (const std::string* text : {&security.token, &security.tenant}) {
    if (text->empty() || IsSecretText(*text)) continue;
    return Refused(text == &security.token ? "token" : "--tenant", "spaces or lines in it",
                   "printable characters");
  }
  if (security.certificate.empty() != security.key.empty()) {
    return Refused(security.key.empty() ? "--tls-key" : "--tls-cert", "nothing",
                   "--tls-cert and --tls-key together");
  }
  if (!security.authority.empty()) {
    QD_RETURN_IF_ERROR(CheckFiles(security));
    return TlsCredentialsFor(security);
  }
  if (!security.certificate.empty()) {
    return Refused("--tls-cert", "a certificate for a connection in plain text",
                   "--tls-ca with it");
  }
  if (!security.token.empty() && security.plaintext == Plaintext::kOnThisMachine &&
      !IsThisMachine(server)) {
    return Refused("--server", server + ", to which the token would travel in plain text",
                   "--tls-ca FILE, or --insecure if that is what you want");
  }
  return grpc::InsecureChannelCredentials();
}

void SayWhoCalls(const ChannelSecurity& security, grpc::ClientContext& context) {
  if (!security.token.empty()) context.AddMetadata("authorization", "Bearer " + security.token);
  if (!security.tenant.empty()) context.AddMetadata("quantd-tenant", security.tenant);
}

}  // namespace quantd
