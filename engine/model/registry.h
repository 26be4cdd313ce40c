// Model families. A family is one file with one function and one row here: config.json ->
// ModelSpec.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/json.h"
#include "engine/model/model_spec.h"
#include "engine/tensor/checkpoint.h"

namespace quantd {

struct Family {
  std::string_view name;     // config.json model_type
  std::string_view summary;  // one line: what it adds to the llama shape
  absl::StatusOr<ModelSpec> (*parse)(const Json& config);
};

std::span<const Family> Families();

// Reads config.json of a model folder (at most 16 MiB), finds the family by model_type and checks
// that every tensor the spec names is in the checkpoint with the dtype and shape it must have.
// Errors: MODEL_NOT_FOUND, MODEL_CORRUPT, MODEL_UNSUPPORTED with the list of families (also for
// models that are quantized already).
absl::StatusOr<ModelSpec> ReadModelSpec(const std::string& folder, const Checkpoint& checkpoint);

}  // namespace quantd
