// The parsers of the families, one per file: config.json -> ModelSpec. Rows: registry.cc.
#pragma once

#include "absl/status/statusor.h"
#include "base/json.h"
#include "engine/types/model_spec.h"

namespace quantd {

absl::StatusOr<ModelSpec> ParseLlama(const Json& config);
absl::StatusOr<ModelSpec> ParseMistral(const Json& config);
absl::StatusOr<ModelSpec> ParseQwen2(const Json& config);
absl::StatusOr<ModelSpec> ParseQwen3(const Json& config);
absl::StatusOr<ModelSpec> ParseGemma(const Json& config);
absl::StatusOr<ModelSpec> ParseGemma2(const Json& config);
absl::StatusOr<ModelSpec> ParseGemma3Text(const Json& config);
absl::StatusOr<ModelSpec> ParsePhi3(const Json& config);
absl::StatusOr<ModelSpec> ParseStarcoder2(const Json& config);
absl::StatusOr<ModelSpec> ParseGptNeox(const Json& config);
absl::StatusOr<ModelSpec> ParseFalcon(const Json& config);
absl::StatusOr<ModelSpec> ParseOpt(const Json& config);
absl::StatusOr<ModelSpec> ParseGpt2(const Json& config);
absl::StatusOr<ModelSpec> ParseMixtral(const Json& config);
absl::StatusOr<ModelSpec> ParseQwen3Moe(const Json& config);
absl::StatusOr<ModelSpec> ParseLanguageTower(const Json& config);

}  // namespace quantd
