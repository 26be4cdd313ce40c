// What an earlier run has left in a folder: a new result never lies beside it.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace quantd {

// Paths below `folder` of what makes a model there, ours or not: configuration, index, weights and
// all that a manifest of ours lists. In the order in which they go: without its configuration no
// engine takes the folder for a model. Files that are none of these do not count. A folder that is
// not there holds nothing. Errors: of listing the folder.
absl::StatusOr<std::vector<std::string>> OlderResult(const std::string& folder);

// Refuses a folder that holds an older result, naming `flag` and what is there.
absl::Status CheckNoOlderResult(const std::string& folder, std::string_view flag);

// Removes it, but for files that `stays`. Whatever stops it on its way leaves no folder that loads.
// Errors: of the file system.
absl::Status RemoveOlderResult(
    const std::string& folder, const std::function<bool(const std::string&)>& stays =
                                   [](const std::string&) { return false; });

}  // namespace quantd
