// A model to quantize, in whatever form it is given: a Hugging Face folder, or GGUF.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "engine/tensor/model_files.h"
#include "engine/tensor/model_folder.h"

namespace quantd {

// The model at `path`: a folder, or a GGUF file (of a split one the first). Errors: those of
// OpenModelFolder and ShowModel.
absl::StatusOr<std::shared_ptr<const ModelFiles>> OpenModel(const std::string& path,
                                                            const ModelFolderOptions& options = {});

// `files` as those of a Hugging Face model: themselves, or what a GGUF model among them is seen as
// (gguf_model.h), if it is the only one and there are no safetensors. Errors: those of the GGUF
// model; MODEL_NOT_FOUND if there are several.
absl::StatusOr<std::shared_ptr<const ModelFiles>> ShowModel(
    std::shared_ptr<const ModelFiles> files);

}  // namespace quantd
