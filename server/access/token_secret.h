// The secret of a token: "quantd_" and 43 characters that carry 256 random bits. The prefix lets
// people and scanners of leaked secrets tell what it is.
#pragma once

#include <string>
#include <string_view>

namespace quantd {

std::string NewTokenSecret();
// What is kept of it. Guessing 256 random bits is hopeless, so no slow hash is needed.
std::string DigestOfSecret(std::string_view secret);
// Whether it could be one at all. Others are refused unread.
bool LooksLikeSecret(std::string_view text);
// 12 characters of [a-z2-7]: names a token in lists and logs.
std::string NewTokenId();

}  // namespace quantd
