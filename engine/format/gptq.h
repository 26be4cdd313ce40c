// GPTQ checkpoints, as AutoGPTQ and GPTQModel write them: codes packed along the inputs, zero
// points along the outputs, f16 scales, the group of every input. Layout: docs/formats.md.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/format/registry.h"

namespace quantd {

extern const Format kGptqFormat;

// Scheme::layout of a linear whose zero points are stored as they are. The other layout, "", is
// checkpoint_format "gptq": zero points less one.
inline constexpr char kGptqV2[] = "gptq_v2";

// What the format can hold and what each loader takes.
absl::Status GptqAccepts(std::span<const ResolvedLinear> linears, const ModelSpec& model,
                         const LoaderTarget& target);
// The value of "quantization_config", and of quantize_config.json.
Json GptqConfig(std::span<const ResolvedLinear> linears, const ModelSpec& model);

// The group of each input when groups are of neighbours.
std::vector<int32_t> NeighbouringGroups(const LinearSpec& linear, const Scheme& scheme);

// `tensors` are qweight, qzeros, scales, g_idx, as kGptqFormat.tensors has them. The rows have zero
// points unless the scheme is symmetric. Errors: MODEL_CORRUPT for sizes that are not the linear's,
// groups that do not exist, groups that are not of neighbours (desc_act) unless the scheme says so,
// zero points of a symmetric scheme that are not in the middle.
absl::StatusOr<QuantizedRows> UnpackGptq(const LinearSpec& linear, const Scheme& scheme,
                                         std::span<const std::span<const std::byte>> tensors);

}  // namespace quantd
