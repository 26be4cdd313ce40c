// Finds NaN and infinity in weights.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>

#include "absl/status/status.h"
#include "engine/tensor/checkpoint.h"
#include "engine/tensor/dtype.h"

namespace quantd {

// Whether every element is a finite number; integers are. `bytes` holds whole little-endian
// elements. F8 types, which no family reads, count as finite.
bool AllFinite(std::span<const std::byte> bytes, DType dtype);

// Reads a tensor through, a few MiB at a time. MODEL_NOT_FINITE names it and the rows; errors of
// reading.
absl::Status CheckFinite(const Checkpoint& checkpoint, std::string_view name);

// What CheckFinite says of rows from `row` on.
absl::Status NotFinite(std::string_view name, int64_t row);

}  // namespace quantd
