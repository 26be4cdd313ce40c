// The tensors of one stored linear as rows of codes, scales and zero points, and rows as the
// tensors of another format.
#pragma once

#include <cstddef>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/format/registry.h"
#include "engine/inspect/stored_module.h"
#include "engine/inspect/tensor_folder.h"
#include "engine/types/scheme.h"

namespace quantd {

// Why the codes of a module cannot be carried over to another layout; OK if they can. Errors:
// FORMAT_CANNOT_HOLD.
absl::Status CheckConvertible(const StoredModule& module);

// Reads and unpacks a module (its layout has a format: pack-quantized, awq, gptq). Errors: of
// reading; MODEL_CORRUPT.
absl::StatusOr<QuantizedRows> ReadRows(const TensorFolder& folder, const StoredModule& module,
                                       const LinearSpec& linear);

// Rows under `from` as rows under `to`, which differ at most in symmetry and in the type of scales.
// Errors: FORMAT_CANNOT_HOLD for scales that `to` would round.
absl::Status Adapt(const LinearSpec& linear, const Scheme& from, const Scheme& to,
                   QuantizedRows* rows);

// Every byte of the tensors of a linear, in the order of format.tensors.
std::vector<std::vector<std::byte>> PackLinear(const Format& format, const LinearSpec& linear,
                                               const Scheme& scheme, const QuantizedRows& rows);

// Unpacks compressed-tensors' packed weights; `tensors` as the format has them. Errors:
// MODEL_CORRUPT.
absl::StatusOr<QuantizedRows> UnpackPackQuantized(
    const LinearSpec& linear, const Scheme& scheme,
    std::span<const std::span<const std::byte>> tensors);

}  // namespace quantd
