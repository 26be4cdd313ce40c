#include "server/access/audit_log.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/error.h"
#include "base/json.h"
#include "base/log.h"

namespace quantd {
namespace {

constexpr size_t kMaxResource = 100;

std::string LineOf(const AuditEntry& entry, absl::Time now) {
  std::string outcome = "OK";
  if (const auto reason = ReasonOf(entry.outcome); reason.has_value()) {
    outcome = RowOf(*reason).name;
  }
  const Json line = {{"time", absl::FormatTime("%Y-%m-%dT%H:%M:%E6SZ", now, absl::UTCTimeZone())},
                     {"action", entry.action},
                     {"tenant", entry.caller.all_tenants ? "*" : entry.caller.tenant},
                     {"caller", entry.caller.name},
                     {"token", entry.caller.token_id},
                     {"resource", entry.resource.substr(0, kMaxResource)},
                     {"outcome", outcome}};
  return DumpJson(line) + "\n";
}

// One write of a short line to a file that is open for appending: lines do not mix.
int Append(const std::string& path, const std::string& line) {
  const int descriptor = ::open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
  if (descriptor < 0) return errno;
  const ssize_t written = ::write(descriptor, line.data(), line.size());
  const int error = written == static_cast<ssize_t>(line.size()) ? 0 : (written < 0 ? errno : EIO);
  ::close(descriptor);
  return error;
}

}  // namespace

void AuditLog::Note(const AuditEntry& entry) const {
  const std::string line = LineOf(entry, clock_.Now());
  if (const int error = Append(path_, line); error != 0) {
    spdlog::error("{}: {}: {}", path_, std::strerror(error), line);
  }
}

}  // namespace quantd
