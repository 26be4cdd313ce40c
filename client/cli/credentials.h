// What `quantctl login` keeps: for each server the token, and the certificates that reach it. One
// file, credentials.json beside the context file, for its owner's eyes alone.
#pragma once

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "proto/secure_channel.h"

namespace quantd {

// What was kept for `server`. WRONG_STATE if others may read the file.
absl::StatusOr<std::optional<ChannelSecurity>> LoadCredentials(const std::string& server);
// Replaces what was kept for `server`.
absl::Status SaveCredentials(const std::string& server, const ChannelSecurity& security);
// False: nothing was kept.
absl::StatusOr<bool> DropCredentials(const std::string& server);

}  // namespace quantd
