// compressed-tensors, the format of vLLM's and llm-compressor's checkpoints: "pack-quantized" for
// weights alone, "int-quantized" for W8A8. Layout: docs/formats.md.
#pragma once

#include "engine/format/registry.h"

namespace quantd {

extern const Format kCompressedTensors;

// What the format can hold and what each loader takes.
absl::Status CompressedTensorsAccepts(std::span<const ResolvedLinear> linears,
                                      const ModelSpec& model, const LoaderTarget& target);
// What transformers does not load by default.
std::vector<std::string> CompressedTensorsCaveats(std::span<const ResolvedLinear> linears,
                                                  const LoaderTarget& target);

}  // namespace quantd
