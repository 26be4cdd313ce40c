#include "engine/tensor/finite.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>

#include "base/error.h"
#include "engine/tensor/tensor.h"

namespace quantd {
namespace {

constexpr int64_t kChunkBytes = 4 << 20;

// A float is NaN or infinite if all bits of its exponent are set. No early way out: the loop is
// vectorized.
template <typename Bits>
bool NoneHasAll(std::span<const std::byte> bytes, Bits exponent) {
  bool found = false;
  for (size_t at = 0; at + sizeof(Bits) <= bytes.size(); at += sizeof(Bits)) {
    Bits bits;
    std::memcpy(&bits, bytes.data() + at, sizeof(Bits));
    found |= (bits & exponent) == exponent;
  }
  return !found;
}

}  // namespace

bool AllFinite(std::span<const std::byte> bytes, DType dtype) {
  switch (dtype) {
    case DType::kF64:
      return NoneHasAll<uint64_t>(bytes, 0x7FF0'0000'0000'0000);
    case DType::kF32:
      return NoneHasAll<uint32_t>(bytes, 0x7F80'0000);
    case DType::kF16:
      return NoneHasAll<uint16_t>(bytes, 0x7C00);
    case DType::kBF16:
      return NoneHasAll<uint16_t>(bytes, 0x7F80);
    default:
      return true;
  }
}

absl::Status NotFinite(std::string_view name, int64_t row) {
  return MakeError(Reason::kModelNotFinite, "the weights are not finite",
                   Violation{.where = std::string(name) + ", rows from " + std::to_string(row),
                             .got = "NaN or infinity",
                             .wanted = "finite numbers"});
}

absl::Status CheckFinite(const Checkpoint& checkpoint, std::string_view name) {
  const TensorInfo* info = checkpoint.Find(name);
  if (info == nullptr || info->bytes() == 0) return absl::OkStatus();
  const int64_t rows = info->shape.empty() ? 1 : info->shape[0];
  const int64_t row_bytes = info->bytes() / rows;
  const int64_t rows_per_chunk = std::clamp<int64_t>(kChunkBytes / row_bytes, 1, rows);
  AlignedBuffer<std::byte> chunk(rows_per_chunk * row_bytes);
  for (int64_t row = 0; row < rows; row += rows_per_chunk) {
    const int64_t count = std::min(rows_per_chunk, rows - row);
    const auto part = chunk.span().first(static_cast<size_t>(count * row_bytes));
    QD_RETURN_IF_ERROR(checkpoint.ReadRows(name, row, count, part));
    if (!AllFinite(part, info->dtype)) return NotFinite(name, row);
  }
  return absl::OkStatus();
}

}  // namespace quantd
