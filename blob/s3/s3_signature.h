// Signature Version 4 of Amazon's services, as S3 has it: "Authenticating Requests: Using the
// Authorization Header" of the S3 API reference.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "absl/time/time.h"
#include "blob/s3/s3_location.h"

namespace quantd {

struct S3Request {
  std::string method;                             // "GET"
  std::string host;                               // "example.com:9000", as the Host header says it
  std::string path;                               // "/bucket/a b": not encoded
  std::map<std::string, std::string> query = {};  // not encoded
  std::map<std::string, std::string> headers = {};  // to be signed, beside host and x-amz-*; names
                                                    // in lower case
  std::string body_sha256;                          // lower-case hex
};

// What is sent beside the request's own headers: authorization, x-amz-date, x-amz-content-sha256,
// and x-amz-security-token where there is one.
std::map<std::string, std::string> SignedHeaders(const S3Request& request, const S3Keys& keys,
                                                 std::string_view region, absl::Time now);

// RFC 3986: all but A-Z a-z 0-9 - . _ ~ as %XX; of paths '/' stays too.
std::string UriEncoded(std::string_view text, bool path);
// "a=1&b=%20", sorted by name, as it is signed and sent.
std::string QueryText(const std::map<std::string, std::string>& query);

}  // namespace quantd
