// Which hosts the operator lets webhooks call.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace quantd {

// A URL that may be called.
struct WebhookTarget {
  std::string url;        // as it was given
  bool internal = false;  // its host may have an internal address
};

// The allow-list. An entry is [internal:][http://]HOST[:PORT]: HOST a name, an address or
// "*.DOMAIN", which is every name below DOMAIN and not DOMAIN itself; PORT a number or "*", by
// default the scheme's own. Only https unless it says http://, which allows https as well; no
// internal addresses unless it says internal:. Immutable.
class WebhookHosts {
 public:
  // Nothing is allowed: webhooks are off.
  WebhookHosts() = default;
  // INVALID_FIELD for an entry that is none.
  static absl::StatusOr<WebhookHosts> Parse(const std::vector<std::string>& entries);

  bool off() const { return entries_.empty(); }

  // INVALID_FIELD by `where`, saying what is allowed, for a URL that is not. Looks up no name.
  absl::StatusOr<WebhookTarget> Check(std::string_view where, const std::string& url) const;

 private:
  struct Entry {
    std::string text;       // as it was given
    std::string host = {};  // lower case; for a domain ".example.com"
    std::string port = {};  // "443", "*"; empty: the scheme's own
    bool plain = false;
    bool internal = false;
  };
  std::string Allowed() const;

  std::vector<Entry> entries_;
};

}  // namespace quantd
