// A model read: configuration, files, modules.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/json.h"
#include "engine/inspect/declared.h"
#include "engine/inspect/finding.h"
#include "engine/inspect/stored_module.h"
#include "engine/inspect/tensor_folder.h"

namespace quantd {

struct ModelSource {
  TensorFolder folder;
  Json config;  // config.json; an empty object if it cannot be read
  Declared declared;
  std::vector<StoredModule> modules;  // their parts point into `folder`
};

// Reads headers and configurations, compares what config.json says with what is stored, and looks
// into no weights. Everything wrong is a problem. Errors: MODEL_NOT_FOUND without weights.
absl::StatusOr<ModelSource> ReadModelSource(const ModelFiles& files, Findings* findings);

}  // namespace quantd
