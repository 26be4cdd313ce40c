// Opening files that strangers name: what is opened is what was checked, and it lies below the
// folders that the operator allows, whatever links are put in its way in the meantime.
#pragma once

#include <span>
#include <string>

#include "absl/status/statusor.h"
#include "base/descriptor.h"

namespace quantd {

struct OpenBeneathOptions {
  // openat2(2) where the kernel has it (5.6); false: always component by component, as older
  // kernels do.
  bool ask_kernel = true;
};

// Opens `path` for reading: a regular file or a folder, relative to `root` or an absolute path
// below it. Links are followed as long as every step stays at or below `root`, also absolute ones
// that name it; so are "..". `root` has no links in it (RealPath). Errors: MODEL_OUTSIDE_ROOTS if
// it leads out of `root` or is neither a file nor a folder, IO (naming the errno) if there is no
// such file.
absl::StatusOr<Descriptor> OpenBeneath(const std::string& root, const std::string& path,
                                       OpenBeneathOptions options = {});

// Opens `path`, absolute, below whichever of `roots` its links lead to. Errors as OpenBeneath, but
// MODEL_OUTSIDE_ROOTS also where nothing is: which of the two is nobody's business.
absl::StatusOr<Descriptor> OpenAllowed(std::span<const std::string> roots, const std::string& path);

}  // namespace quantd
