// config.json of the model in a GGUF file, from its metadata: engine/gguf/model_keys.h backwards.
#pragma once

#include <span>
#include <string>

#include "absl/status/statusor.h"
#include "base/json.h"
#include "engine/gguf/gguf_parts.h"

namespace quantd {

// What transformers wants to know of the model. The type is that of the weights, if all matrices
// are F16 or all BF16, and F32 otherwise. Errors: MODEL_UNSUPPORTED for an architecture that is not
// read, and for a key of it whose meaning we do not know; MODEL_CORRUPT for a key that is missing
// or of another type.
absl::StatusOr<Json> ConfigOf(const GgufHeader& header, std::span<const GgufPart> parts);

// The architectures that are read: "gemma, gemma2, …".
std::string ReadableArchitectures();

}  // namespace quantd
