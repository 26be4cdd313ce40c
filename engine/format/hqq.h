// HQQ linears in safetensors, as transformers stores and loads them with the hqq library: codes in
// halves, quarters or tenths of the matrix, real zero points. Layout: docs/formats.md.
#pragma once

#include <span>

#include "absl/status/statusor.h"
#include "engine/format/registry.h"

namespace quantd {

extern const Format kHqqFormat;

// `tensors` are those of kHqqFormat.tensors, in that order; only W_q, scale and zero are looked at.
// The rows have real zero points; with option axis 0 every weight has its scale and zero beside it
// (groups = columns), as the method hqq leaves them. Errors: MODEL_CORRUPT for sizes that are not
// the linear's.
absl::StatusOr<QuantizedRows> UnpackHqq(const LinearSpec& linear, const Scheme& scheme,
                                        std::span<const std::span<const std::byte>> tensors);

}  // namespace quantd
