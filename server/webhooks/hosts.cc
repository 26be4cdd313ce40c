#include "server/webhooks/hosts.h"

#include <curl/curl.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "base/error.h"

namespace quantd {
namespace {

constexpr char kWantedEntry[] =
    "[internal:][http://]HOST[:PORT], HOST a name, an address or *.DOMAIN, PORT 1 to 65535 or *";

struct UrlParts {
  std::string scheme, host, port;
};

// As the client that makes the call reads it: two readings of one URL are how lists are passed by.
std::optional<UrlParts> Split(const std::string& url) {
  const std::unique_ptr<CURLU, decltype(&curl_url_cleanup)> handle(curl_url(), curl_url_cleanup);
  if (handle == nullptr || curl_url_set(handle.get(), CURLUPART_URL, url.c_str(), 0) != CURLUE_OK) {
    return std::nullopt;
  }
  const auto part = [&](CURLUPart which, unsigned flags) {
    char* text = nullptr;
    if (curl_url_get(handle.get(), which, &text, flags) != CURLUE_OK) return std::string();
    std::string copy(text);
    curl_free(text);
    return copy;
  };
  for (const CURLUPart which : {CURLUPART_USER, CURLUPART_PASSWORD, CURLUPART_FRAGMENT}) {
    if (!part(which, 0).empty()) return std::nullopt;
  }
  UrlParts parts{.scheme = part(CURLUPART_SCHEME, 0),
                 .host = absl::AsciiStrToLower(part(CURLUPART_HOST, 0)),
                 .port = part(CURLUPART_PORT, CURLU_DEFAULT_PORT)};
  if (parts.host.ends_with('.')) parts.host.pop_back();
  if (parts.host.empty() || (parts.scheme != "https" && parts.scheme != "http")) {
    return std::nullopt;
  }
  return parts;
}

bool IsPlainText(std::string_view url) {
  return std::all_of(url.begin(), url.end(),
                     [](unsigned char letter) { return letter > ' ' && letter < 0x7F; });
}

bool IsPort(const std::string& port) {
  int number = 0;
  return port == "*" || (absl::SimpleAtoi(port, &number) && number >= 1 && number <= 65535);
}

}  // namespace

absl::StatusOr<WebhookHosts> WebhookHosts::Parse(const std::vector<std::string>& entries) {
  WebhookHosts hosts;
  for (const std::string& text : entries) {
    absl::Status wrong =
        MakeError(Reason::kInvalidField, "refused",
                  Violation{.where = "webhook-host", .got = text, .wanted = kWantedEntry});
    absl::string_view rest = text;
    Entry entry{.text = text};
    entry.internal = absl::ConsumePrefix(&rest, "internal:");
    entry.plain = absl::ConsumePrefix(&rest, "http://");
    const bool domain = absl::ConsumePrefix(&rest, "*.");
    const size_t colon = rest.rfind(':');
    if (colon != absl::string_view::npos && rest.back() != ']') {
      entry.port = std::string(rest.substr(colon + 1));
      rest = rest.substr(0, colon);
      if (!IsPort(entry.port)) return wrong;
    }
    // As it will be compared with hosts of URLs, so read as one of them.
    const auto parts =
        IsPlainText(text) ? Split(absl::StrCat("https://", rest, "/")) : std::nullopt;
    if (!parts.has_value() || rest.empty() || rest.find_first_of("/?@*,") != rest.npos ||
        parts->port != "443") {
      return wrong;
    }
    entry.host = domain ? "." + parts->host : parts->host;
    hosts.entries_.push_back(std::move(entry));
  }
  return hosts;
}

std::string WebhookHosts::Allowed() const {
  return "a host that the operator allows: " +
         absl::StrJoin(entries_, ", ", [](std::string* out, const Entry& entry) {
           absl::StrAppend(out, entry.text);
         });
}

absl::StatusOr<WebhookTarget> WebhookHosts::Check(std::string_view where,
                                                  const std::string& url) const {
  const auto refused = [&](std::string wanted) {
    return MakeError(
        Reason::kInvalidField, "refused",
        Violation{
            .where = std::string(where), .got = url.substr(0, 200), .wanted = std::move(wanted)});
  };
  if (off()) {
    return refused(
        "no webhooks: the operator switches them on with webhook-host and "
        "webhook-secret-file");
  }
  const auto parts = IsPlainText(url) ? Split(url) : std::nullopt;
  if (!parts.has_value()) return refused("https://HOST[:PORT]/PATH without user and fragment");
  const std::string usual = parts->scheme == "https" ? "443" : "80";
  const auto allows = [&](const Entry& entry) {
    const bool host = entry.host.starts_with('.')
                          ? parts->host.ends_with(entry.host) && parts->host != entry.host
                          : parts->host == entry.host;
    const std::string& port = entry.port.empty() ? usual : entry.port;
    return host && (entry.plain || parts->scheme == "https") &&
           (port == "*" || port == parts->port);
  };
  // Of several that fit, one that allows more counts.
  WebhookTarget target{.url = url};
  bool allowed = false;
  for (const Entry& entry : entries_) {
    if (!allows(entry)) continue;
    allowed = true;
    target.internal = target.internal || entry.internal;
  }
  if (!allowed) return refused(Allowed());
  return target;
}

}  // namespace quantd
