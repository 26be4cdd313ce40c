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
absl::StatusOr<ModelSpec> ParseQwen2Moe(const Json& config);
absl::StatusOr<ModelSpec> ParseDeepseekV2(const Json& config);
absl::StatusOr<ModelSpec> ParseDeepseekV3(const Json& config);
absl::StatusOr<ModelSpec> ParseGranite(const Json& config);
absl::StatusOr<ModelSpec> ParseSmolLm3(const Json& config);
absl::StatusOr<ModelSpec> ParseOlmo2(const Json& config);
absl::StatusOr<ModelSpec> ParseOlmo3(const Json& config);
absl::StatusOr<ModelSpec> ParseGlm(const Json& config);
absl::StatusOr<ModelSpec> ParseGlm4(const Json& config);
absl::StatusOr<ModelSpec> ParseGlm4Moe(const Json& config);
absl::StatusOr<ModelSpec> ParseCohere(const Json& config);
absl::StatusOr<ModelSpec> ParseCohere2(const Json& config);
absl::StatusOr<ModelSpec> ParseExaone4(const Json& config);
absl::StatusOr<ModelSpec> ParseLanguageTower(const Json& config);

}  // namespace quantd
