#include "base/certificates.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <ctime>
#include <memory>

#include "base/error.h"
#include "base/files.h"

namespace quantd {
namespace {

using Bio = std::unique_ptr<BIO, decltype(&BIO_free)>;
using Certificate = std::unique_ptr<X509, decltype(&X509_free)>;
using Key = std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)>;

Bio BioOf(const std::string& text) {
  return {BIO_new_mem_buf(text.data(), static_cast<int>(text.size())), &BIO_free};
}

// A key with a pass phrase is refused: there is nobody to ask.
int NoPassPhrase(char* /*buffer*/, int /*size*/, int /*writing*/, void* /*data*/) { return 0; }

Certificate FirstCertificate(const std::string& text) {
  const Bio bio = BioOf(text);
  Certificate found(PEM_read_bio_X509(bio.get(), nullptr, &NoPassPhrase, nullptr), &X509_free);
  ERR_clear_error();
  return found;
}

absl::Status Wrong(std::string_view where, std::string got, std::string wanted) {
  return MakeError(
      Reason::kInvalidField, "refused",
      Violation{.where = std::string(where), .got = std::move(got), .wanted = std::move(wanted)});
}

}  // namespace

absl::StatusOr<std::string> ReadPem(std::string_view where, const std::string& path) {
  constexpr int64_t kMaxBytes = 1 << 20;
  auto text = ReadFile(path, kMaxBytes);
  if (text.ok()) return text;
  return Wrong(where, std::string(text.status().message()), "a PEM file");
}

absl::Status CheckCertificatePair(std::string_view where, const std::string& certificates,
                                  const std::string& key) {
  QD_RETURN_IF_ERROR(CheckCertificates(where, certificates));
  const Certificate certificate = FirstCertificate(certificates);
  const Bio bio = BioOf(key);
  const Key private_key(PEM_read_bio_PrivateKey(bio.get(), nullptr, &NoPassPhrase, nullptr),
                        &EVP_PKEY_free);
  const bool fits =
      private_key != nullptr && X509_check_private_key(certificate.get(), private_key.get()) == 1;
  ERR_clear_error();
  if (private_key == nullptr) {
    return Wrong(where, "no key that can be read", "a private key in PEM, without a pass phrase");
  }
  if (!fits) return Wrong(where, "the key of another certificate", "the certificate's own key");
  return absl::OkStatus();
}

absl::Status CheckCertificates(std::string_view where, const std::string& certificates) {
  if (FirstCertificate(certificates) != nullptr) return absl::OkStatus();
  return Wrong(where, "no certificate", "certificates in PEM");
}

absl::Time EndOfCertificate(const std::string& certificates) {
  const Certificate certificate = FirstCertificate(certificates);
  std::tm end{};
  if (certificate == nullptr || ASN1_TIME_to_tm(X509_get0_notAfter(certificate.get()), &end) != 1) {
    return absl::InfinitePast();
  }
  return absl::FromTM(end, absl::UTCTimeZone());
}

}  // namespace quantd
