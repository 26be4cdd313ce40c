// A GGUF model seen as the files of a Hugging Face model: config.json, tokenizer.json and
// model.safetensors, which are nowhere but here. ADR 16 says why.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "engine/tensor/model_files.h"

namespace quantd {

// `name` is the GGUF file among `files`, or the first part of a model that was split. Its metadata
// are read and every tensor is found; no weight is read. Files beside it are seen too if it is the
// only model there, and those of a tokenizer take the place of the ones that are made from the
// metadata. Errors: those of the parts (MODEL_CORRUPT), the configuration, the tensors and the
// tokenizer.
absl::StatusOr<std::shared_ptr<const ModelFiles>> ShowGgufModel(
    std::shared_ptr<const ModelFiles> files, const std::string& name);

}  // namespace quantd
