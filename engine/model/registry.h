// Model families. A family is one file with one function and one row here: config.json ->
// ModelSpec.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/json.h"
#include "engine/tensor/checkpoint.h"
#include "engine/types/model_spec.h"

namespace quantd {

struct Family {
  std::string_view name;     // config.json model_type
  std::string_view summary;  // one line: what it adds to the llama shape
  absl::StatusOr<ModelSpec> (*parse)(const Json& config);
};

std::span<const Family> Families();
// nullptr if there is none of that model_type.
const Family* FindFamily(std::string_view model_type);
// MODEL_UNSUPPORTED with the list of families, for a model that the forward pass cannot run.
absl::Status CheckRunnable(const ModelSpec& model);

// Reads config.json of a model (at most 16 MiB), finds the family by model_type and checks
// that every tensor the spec names is in the checkpoint with the dtype and shape it must have. Of a
// family that is not known the spec holds the linears by their names, and is not runnable.
// Errors: MODEL_NOT_FOUND, MODEL_CORRUPT, MODEL_UNSUPPORTED (also for models that are quantized
// already).
absl::StatusOr<ModelSpec> ReadModelSpec(const ModelFiles& files, const Checkpoint& checkpoint);

}  // namespace quantd
