// What the formats share between the values of a linear and the tensors that stand for it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "engine/tensor/tensor.h"
#include "engine/types/model_spec.h"

namespace quantd {

// The bytes of `values` rounded to `dtype`.
std::vector<std::byte> NarrowedBytes(std::span<const float> values, DType dtype);

// values[rows, groups] as a tensor [groups, rows] of `dtype`, and back.
std::vector<std::byte> BytesByGroup(std::span<const float> values, int64_t rows, DType dtype);
std::vector<float> ValuesByGroup(std::span<const std::byte> bytes, int64_t rows, DType dtype);

// MODEL_CORRUPT of a linear; `what` as in "an AWQ linear".
absl::Status IsNot(std::string_view what, const LinearSpec& linear, std::string got,
                   std::string wanted);
// Whether the tensors are as many, and each as large, as `infos` says. MODEL_CORRUPT.
absl::Status CheckSizes(std::string_view what, const LinearSpec& linear,
                        std::span<const TensorInfo> infos,
                        std::span<const std::span<const std::byte>> tensors);

}  // namespace quantd
