// The tensors of a GGUF model as the bytes of a safetensors file that is nowhere: each piece is
// decoded when it is read.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/gguf_source/shown_tensor.h"
#include "engine/tensor/shown_file.h"

namespace quantd {

// `parts` are the files that `tensors` lie in. `name` is the file's, for errors.
absl::StatusOr<std::shared_ptr<const ShownTensors>> ShowWeights(const std::string& name,
                                                                std::vector<GgufPart> parts,
                                                                std::vector<ShownTensor> tensors);

}  // namespace quantd
