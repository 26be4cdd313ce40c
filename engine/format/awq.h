// AutoAWQ checkpoints, version "gemm": 4-bit codes packed along the outputs in an interleaved
// order, with zero points and f16 scales. Layout: docs/formats.md.
#pragma once

#include <span>

#include "absl/status/statusor.h"
#include "engine/format/registry.h"

namespace quantd {

extern const Format kAwqFormat;

// `tensors` are qweight, qzeros, scales, as kAwqFormat.tensors has them. The rows have zero points
// unless the scheme is symmetric. Errors: MODEL_CORRUPT for sizes that are not the linear's, and
// for zero points of a symmetric scheme that are not in the middle.
absl::StatusOr<QuantizedRows> UnpackAwq(const LinearSpec& linear, const Scheme& scheme,
                                        std::span<const std::span<const std::byte>> tensors);

}  // namespace quantd
