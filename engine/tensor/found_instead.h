// What lies where something else was looked for, in words that tell a person what to do.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "engine/tensor/model_files.h"

namespace quantd {

// Whether these first bytes of a file are a Git LFS pointer, which stands for a file that was not
// fetched (git-lfs specification, version 1).
bool IsLfsPointer(std::string_view head);
// MODEL_CORRUPT for the file at `where`: a pointer, and how to fetch what it stands for.
absl::Status LfsPointerError(const std::string& where);

// MODEL_NOT_FOUND for a model without weights in safetensors, saying what its folder has instead: a
// LoRA adapter, weights in pickles or of another framework, files that are not whole yet, links to
// nowhere.
absl::Status NoWeightsError(const ModelFiles& files);

}  // namespace quantd
