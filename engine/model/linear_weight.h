// Reads the weight of a linear as [N, K], whichever way the checkpoint holds it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/tensor/checkpoint.h"
#include "engine/types/model_spec.h"

namespace quantd {

// Rows [row, row + count) in the tensor's own type, out[count, K]. Errors: those of the checkpoint.
absl::Status ReadLinearRows(const Checkpoint& checkpoint, const LinearSpec& linear, int64_t row,
                            int64_t count, std::span<std::byte> out);
// The same widened to f32.
absl::Status ReadLinearRowsF32(const Checkpoint& checkpoint, const LinearSpec& linear, int64_t row,
                               int64_t count, float* out);
// All of it, [N, K].
absl::StatusOr<Tensor> ReadLinear(const Checkpoint& checkpoint, const LinearSpec& linear);

}  // namespace quantd
