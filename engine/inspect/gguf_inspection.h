// The inspection of a GGUF model, in one file or several.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "engine/inspect/inspection.h"
#include "engine/tensor/model_files.h"

namespace quantd {

// Fills everything but the path, of the file named and, if it is a part of a split model, of all
// parts. A header that cannot be read is a problem. Errors: of opening.
absl::Status InspectGguf(const ModelFiles& files, const std::string& name,
                         const InspectOptions& options, Inspection* inspection);

}  // namespace quantd
