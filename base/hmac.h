// HMAC with SHA-256 (RFC 2104, FIPS 198-1).
#pragma once

#include <string>
#include <string_view>

namespace quantd {

// 32 bytes, as they are.
std::string HmacSha256(std::string_view key, std::string_view text);
// Lower-case hex, 64 characters.
std::string HmacSha256Hex(std::string_view key, std::string_view text);

}  // namespace quantd
