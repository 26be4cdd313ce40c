// The parsers of the families, one per file: config.json -> ModelSpec. Rows: registry.cc.
#pragma once

#include "absl/status/statusor.h"
#include "base/json.h"
#include "engine/model/model_spec.h"

namespace quantd {

absl::StatusOr<ModelSpec> ParseLlama(const Json& config);
absl::StatusOr<ModelSpec> ParseMistral(const Json& config);
absl::StatusOr<ModelSpec> ParseQwen2(const Json& config);
absl::StatusOr<ModelSpec> ParseQwen3(const Json& config);

}  // namespace quantd
