// Which bucket of which server, and who asks.
#pragma once

#include <functional>
#include <string>

#include "absl/status/statusor.h"

namespace quantd {

struct S3Keys {
  std::string id, secret;
  std::string session_token = {};  // of keys for a while; "": none
};

struct S3Location {
  std::string endpoint;  // "https://s3.us-east-1.amazonaws.com", no '/' at the end
  std::string region;
  std::string bucket;
  std::string prefix;  // of all objects: "a/b/", or ""
  S3Keys keys;
};

// `variable` gives the value of an environment variable, "" for none. As OpenS3BlobStore says.
absl::StatusOr<S3Location> ParseS3Location(
    const std::string& uri, const std::function<std::string(const char* name)>& variable);

}  // namespace quantd
