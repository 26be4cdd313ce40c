// Reads the weights of a folder and notes what no working model has: NaN, scales of zero, zero
// points and indices out of range.
#pragma once

#include <span>

#include "absl/status/status.h"
#include "engine/inspect/declared.h"
#include "engine/inspect/finding.h"
#include "engine/inspect/stored_module.h"
#include "engine/inspect/tensor_folder.h"

namespace quantd {

// All tensors, a few MiB at a time; one problem a tensor and kind. A file that ends early is a
// problem too.
void CheckContents(const TensorFolder& folder, std::span<const StoredModule> modules,
                   const Declared& declared, Findings* findings);

}  // namespace quantd
