// Who changed what, when, and with which outcome: one JSON object a line, in audit.log of the data
// folder.
#pragma once

#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "base/clock.h"
#include "server/caller.h"

namespace quantd {

struct AuditEntry {
  Caller caller;
  std::string action;    // "CreateJob", "tokens revoke"
  std::string resource;  // "jobs/{id}"; empty when none was made
  absl::Status outcome;
};

// Thread-safe, and several processes may write to one file. The file is opened for each line, so
// that it can be moved away at any time.
class AuditLog {
 public:
  AuditLog(std::string path, const Clock& clock) : path_(std::move(path)), clock_(clock) {}

  // A line that cannot be written is told to the log, and the call goes on. It holds no text of
  // the request but the name of what it is about.
  void Note(const AuditEntry& entry) const;

 private:
  const std::string path_;
  const Clock& clock_;
};

}  // namespace quantd
