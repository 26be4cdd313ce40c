#include "blob/s3/s3_signature.h"

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/digest.h"
#include "base/error.h"
#include "base/hmac.h"

namespace quantd {
namespace {

constexpr char kAlgorithm[] = "AWS4-HMAC-SHA256";

}  // namespace

std::string UriEncoded(std::string_view text, bool path) {
  constexpr std::string_view kHex = "0123456789ABCDEF";
  std::string encoded;
  for (const char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '-' || c == '.' || c == '_' || c == '~' || (path && c == '/');
    if (plain) {
      encoded.push_back(c);
      continue;
    }
    const auto byte = static_cast<unsigned char>(c);
    encoded += {'%', kHex[byte >> 4], kHex[byte & 15]};
  }
  return encoded;
}

std::string QueryText(const std::map<std::string, std::string>& query) {
  std::string text;
  for (const auto& [name, value] : query) {
    absl::StrAppend(&text, text.empty() ? "" : "&", UriEncoded(name, false), "=",
                    UriEncoded(value, false));
  }
  return text;
}

std::map<std::string, std::string> SignedHeaders(const S3Request& request, const S3Keys& keys,
                                                 std::string_view region, absl::Time now) {
  const std::string time = absl::FormatTime("%Y%m%dT%H%M%SZ", now, absl::UTCTimeZone());
  const std::string day = time.substr(0, 8);
  std::map<std::string, std::string> added = {{"x-amz-date", time},
                                              {"x-amz-content-sha256", request.body_sha256}};
  if (!keys.session_token.empty()) added["x-amz-security-token"] = keys.session_token;
  std::map<std::string, std::string> all = request.headers;
  all.insert(added.begin(), added.end());
  all["host"] = request.host;
  std::string headers, names;
  for (const auto& [name, value] : all) {
    absl::StrAppend(&headers, name, ":", value, "\n");
    absl::StrAppend(&names, names.empty() ? "" : ";", name);
  }
  const std::string canonical =
      absl::StrCat(request.method, "\n", UriEncoded(request.path, true), "\n",
                   QueryText(request.query), "\n", headers, "\n", names, "\n", request.body_sha256);
  const std::string scope = absl::StrCat(day, "/", ToAbsl(region), "/s3/aws4_request");
  const std::string to_sign =
      absl::StrCat(kAlgorithm, "\n", time, "\n", scope, "\n", Sha256Hex(canonical));
  const std::string key = HmacSha256(
      HmacSha256(HmacSha256(HmacSha256("AWS4" + keys.secret, day), region), "s3"), "aws4_request");
  const std::string signature = absl::BytesToHexString(HmacSha256(key, to_sign));
  added["authorization"] = absl::StrCat(kAlgorithm, " Credential=", keys.id, "/", scope,
                                        ",SignedHeaders=", names, ",Signature=", signature);
  return added;
}

}  // namespace quantd
