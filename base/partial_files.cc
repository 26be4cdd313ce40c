#include "base/partial_files.h"

#include <signal.h>

#include <cerrno>
#include <string_view>
#include <vector>

#include "absl/strings/numbers.h"
#include "base/error.h"
#include "base/files.h"

namespace quantd {
namespace {

constexpr std::string_view kMark = ".partial-";

// Whether `name` ends in the mark and the number of a process that is no more.
bool IsDead(std::string_view name) {
  const size_t mark = name.rfind(kMark);
  int process = 0;
  if (mark == std::string_view::npos ||
      !absl::SimpleAtoi(ToAbsl(name.substr(mark + kMark.size())), &process) || process <= 0) {
    return false;
  }
  return ::kill(process, 0) != 0 && errno == ESRCH;
}

}  // namespace

absl::Status RemoveDeadPartials(const std::string& folder) {
  if (!IsFolder(folder)) return absl::OkStatus();
  QD_ASSIGN_OR_RETURN(const std::vector<std::string> names, ListFolder(folder));
  for (const std::string& name : names) {
    if (IsDead(name)) QD_RETURN_IF_ERROR(RemoveTree(folder + "/" + name));
  }
  return absl::OkStatus();
}

}  // namespace quantd
