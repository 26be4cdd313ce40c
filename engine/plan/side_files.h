// The files beside the weights: which of a model's go into the artifact, and which stay behind.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/tensor/model_files.h"

namespace quantd {

// LICENSE and NOTICE, which go with the weights in whatever form.
bool IsLegalFile(std::string_view name);

struct SideFiles {
  std::vector<std::string> carried;  // tokenizer, processor, templates, legal, the model's own code
  std::vector<std::string> left;     // what may be such a file by its name, and is not carried
};
// Sorted by name. Code goes along where config.json, the tokenizer's or a processor's configuration
// names some in auto_map: all of the folder's, for one file imports another. Errors: those of
// reading.
absl::StatusOr<SideFiles> FindSideFiles(const ModelFiles& files);

}  // namespace quantd
