// What processes that died were writing.
#pragma once

#include <string>

#include "absl/status/status.h"

namespace quantd {

// Removes files of `folder` that an AtomicFile (base/files.h) of a process that is no more left
// under its temporary name. Those of a living process stay. A folder that is not there has none.
absl::Status RemoveDeadPartials(const std::string& folder);

}  // namespace quantd
