// One POST to a webhook: bounded in time and size, without redirects and proxies, and not to an
// internal address unless that is allowed.
#pragma once

#include <atomic>
#include <string>
#include <vector>

#include "absl/time/time.h"

namespace quantd {

struct HttpPost {
  std::string url = {};
  std::vector<std::string> headers = {};  // "Name: value"
  std::string body = {};
  bool allow_internal = false;
  absl::Duration time_limit = absl::Seconds(10);
};

struct PostOutcome {
  int status = 0;             // of the answer; 0: there was none
  std::string error = {};     // why there was none, or none that counts; for people
  bool refused_here = false;  // the address was internal: nothing was sent
  bool stopped = false;       // `stopping` was set before there was an answer
  bool delivered() const { return status >= 200 && status < 300; }
};

// Blocks. The address is checked when the connection is made, by what it is then: a name that
// resolves otherwise than before gains nothing. Certificates are verified.
PostOutcome Post(const HttpPost& post, const std::atomic<bool>& stopping);

}  // namespace quantd
