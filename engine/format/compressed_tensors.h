// compressed-tensors, the format of vLLM's and llm-compressor's checkpoints: "pack-quantized" for
// weights alone, "int-quantized" for W8A8. Layout: docs/formats.md.
#pragma once

#include "engine/format/registry.h"

namespace quantd {

extern const Format kCompressedTensors;

// What the format can hold and what each loader takes. `loader` is a name of
// kCompressedTensors.loaders or "".
absl::Status CompressedTensorsAccepts(std::span<const ResolvedLinear> linears,
                                      const ModelSpec& model, std::string_view loader);

// Whether two schemes are stored alike: everything but how codes and scales were found.
bool StoredAlike(const Scheme& a, const Scheme& b);

}  // namespace quantd
