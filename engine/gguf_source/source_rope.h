// The rotary embedding of config.json from the keys and tensors of a GGUF file.
#pragma once

#include <span>

#include "absl/status/status.h"
#include "base/json.h"
#include "engine/gguf/architectures.h"
#include "engine/gguf/gguf_parts.h"
#include "engine/gguf_source/metadata.h"

namespace quantd {

// Adds rope_theta, rope_scaling and what goes with them to `config`, which has the sizes already.
// The file holds llama3's scaling as the divisors that it amounts to; they come back as llama3
// where its usual settings (low_freq_factor 1, high_freq_factor 4, a context that is a power of
// two) give the same numbers, and as longrope with these divisors otherwise. What is wrong with
// keys goes to `metadata`. Errors: MODEL_CORRUPT for tensors of divisors that do not fit; those of
// reading.
absl::Status AddRope(const GgufArchitecture& architecture, Metadata& metadata,
                     std::span<const GgufPart> parts, Json& config);

}  // namespace quantd
