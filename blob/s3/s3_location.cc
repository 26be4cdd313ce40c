#include "blob/s3/s3_location.h"

#include <map>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/error.h"
#include "blob/blob_store.h"

namespace quantd {
namespace {

constexpr std::string_view kScheme = "s3://";
constexpr char kForm[] = "s3://BUCKET[/PREFIX][?endpoint=URL&region=REGION]";

absl::Status Refuse(const std::string& uri, std::string wanted) {
  return MakeError(Reason::kInvalidField, "refused",
                   Violation{.where = "blob_store", .got = uri, .wanted = std::move(wanted)});
}

// Naming rules of buckets, in short: 3 to 63 of a-z, 0-9, '.' and '-'.
bool IsBucket(std::string_view name) {
  for (const char c : name) {
    const bool allowed = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '-';
    if (!allowed) return false;
  }
  return name.size() >= 3 && name.size() <= 63;
}

std::string FirstOf(const std::string& first, const std::string& second,
                    const std::string& fallback) {
  if (!first.empty()) return first;
  return second.empty() ? fallback : second;
}

}  // namespace

absl::StatusOr<S3Location> ParseS3Location(
    const std::string& uri, const std::function<std::string(const char* name)>& variable) {
  if (!uri.starts_with(kScheme)) return Refuse(uri, kForm);
  const std::pair<std::string, std::string> parts =
      absl::StrSplit(uri.substr(kScheme.size()), absl::MaxSplits('?', 1));
  std::map<std::string, std::string> options;
  for (const absl::string_view option : absl::StrSplit(parts.second, '&', absl::SkipEmpty())) {
    const std::pair<std::string, std::string> pair =
        absl::StrSplit(option, absl::MaxSplits('=', 1));
    if (pair.first != "endpoint" && pair.first != "region") return Refuse(uri, kForm);
    options[pair.first] = pair.second;
  }
  const std::pair<std::string, std::string> place =
      absl::StrSplit(parts.first, absl::MaxSplits('/', 1));
  S3Location location;
  location.bucket = place.first;
  if (!IsBucket(location.bucket)) return Refuse(uri, kForm);
  location.prefix = place.second;
  while (location.prefix.ends_with('/')) location.prefix.pop_back();
  if (!location.prefix.empty()) {
    QD_RETURN_IF_ERROR(CheckBlobName(location.prefix));
    location.prefix += '/';
  }
  location.region = FirstOf(options["region"], variable("AWS_REGION"), "us-east-1");
  location.endpoint = FirstOf(options["endpoint"], variable("AWS_ENDPOINT_URL"),
                              absl::StrCat("https://s3.", location.region, ".amazonaws.com"));
  while (location.endpoint.ends_with('/')) location.endpoint.pop_back();
  if (!location.endpoint.starts_with("http://") && !location.endpoint.starts_with("https://")) {
    return Refuse(uri, "an endpoint that begins with http:// or https://");
  }
  location.keys = {.id = variable("AWS_ACCESS_KEY_ID"),
                   .secret = variable("AWS_SECRET_ACCESS_KEY"),
                   .session_token = variable("AWS_SESSION_TOKEN")};
  if (location.keys.id.empty() || location.keys.secret.empty()) {
    return MakeError(Reason::kInvalidField, "refused",
                     Violation{.where = "environment",
                               .got = "no AWS_ACCESS_KEY_ID or AWS_SECRET_ACCESS_KEY",
                               .wanted = "both, for " + uri});
  }
  return location;
}

}  // namespace quantd
