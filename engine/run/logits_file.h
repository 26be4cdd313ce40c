// Logits of both models in the artifact, to check a loader against.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "engine/artifact/artifact.h"
#include "engine/block/activations.h"
#include "engine/model/forward.h"

namespace quantd {

// The head of a model and the activations before it.
struct HeadOfStream {
  const Head& head;
  const Activations& stream;
};

// Writes quantd/logits.safetensors: the token ids of the first `windows` windows, and the logits
// that each model has for them, in f32. Errors: DISK_FULL, IO.
absl::Status WriteLogits(const HeadOfStream& original, const HeadOfStream& quantized,
                         int64_t windows, int64_t vocabulary, ArtifactWriter& artifact);

}  // namespace quantd
