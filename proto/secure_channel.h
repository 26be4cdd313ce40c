// How programs of ours reach a server: over TLS or in plain text, and what they say they are.
#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace quantd {

enum class Plaintext {
  kOnThisMachine,  // a token travels in plain text to this machine alone
  kAnywhere,       // said aloud
};

struct ChannelSecurity {
  std::string authority = {};  // PEM file: TLS with a server whose certificate is of these;
                               // "system": of those that this machine trusts; empty: plain text
  std::string certificate = {}, key = {};  // PEM files: our own, for servers that want one
  std::string token = {};                  // empty: none
  std::string tenant = {};  // for admins: whose jobs, or "*" for all; empty: the token's
  Plaintext plaintext = Plaintext::kOnThisMachine;
};

// Credentials for channels to `server`; files that are renewed count from the next connection on.
// INVALID_FIELD, naming the flag, for files that cannot be used, and for a token that would travel
// in plain text over a network.
absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> ChannelCredentialsFor(
    const std::string& server, const ChannelSecurity& security);

// Puts what `security` says into the headers of a call.
void SayWhoCalls(const ChannelSecurity& security, grpc::ClientContext& context);

}  // namespace quantd
