// Looks into PEM files before anybody serves or connects with them, so that a person hears what is
// wrong with which, and a server never takes half of a renewed pair.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace quantd {

// The text of a PEM file. INVALID_FIELD, by `where`, if it cannot be read.
absl::StatusOr<std::string> ReadPem(std::string_view where, const std::string& path);
// INVALID_FIELD, by `where`, if the text holds no certificate, no private key, or the key of
// another certificate. What it says never holds a part of the key.
absl::Status CheckCertificatePair(std::string_view where, const std::string& certificates,
                                  const std::string& key);
// INVALID_FIELD if the text holds no certificate.
absl::Status CheckCertificates(std::string_view where, const std::string& certificates);
// When the first certificate of the text ends; InfinitePast if there is none.
absl::Time EndOfCertificate(const std::string& certificates);

}  // namespace quantd
