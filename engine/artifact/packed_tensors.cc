#include "engine/artifact/packed_tensors.h"

#include <algorithm>

#include "base/checked.h"
#include "base/error.h"
#include "engine/tensor/finite.h"

namespace quantd {
namespace {

constexpr int64_t kCopyChunkBytes = 1 << 20;

}  // namespace

absl::Status PackedTensors::Copy(const Checkpoint& checkpoint, std::string_view name,
                                 Content content) {
  const TensorInfo* stored = Planned(name);
  if (stored == nullptr) return absl::OkStatus();
  const TensorInfo* info = checkpoint.Find(name);
  if (info->shape.size() != 1 && info->shape.size() != 2) {  // beside a language model: no rows
    QD_ASSIGN_OR_RETURN(const Tensor tensor, checkpoint.Read(name));
    return info->bytes() == 0 ? absl::OkStatus() : Write(name, 0, tensor.bytes.span());
  }
  const int64_t rows = info->shape[0];
  const int64_t row_bytes = rows == 0 ? 0 : info->bytes() / rows;
  if (info->bytes() == 0) return absl::OkStatus();
  const int64_t rows_per_chunk = std::max<int64_t>(1, kCopyChunkBytes / row_bytes);
  const int64_t chunks = DivideRoundingUp(rows, rows_per_chunk);
  return pool_.ForEach(chunks, [&](int64_t chunk) -> absl::Status {
    const int64_t row = chunk * rows_per_chunk;
    const int64_t count = std::min(rows_per_chunk, rows - row);
    AlignedBuffer<std::byte> bytes(count * row_bytes);
    QD_RETURN_IF_ERROR(checkpoint.ReadRows(name, row, count, bytes.span()));
    if (content == Content::kFinite && !AllFinite(bytes.span(), info->dtype)) {
      return NotFinite(name, row);
    }
    return WriteAs(*stored, row, row_bytes, info->dtype, bytes.span());
  });
}

absl::Status PackedTensors::WriteRows(std::string_view name, const WeightRows& rows) {
  const TensorInfo* stored = Planned(name);
  if (stored == nullptr) return absl::OkStatus();
  const int64_t row_bytes = rows.columns * SizeOf(rows.dtype);
  const int64_t per_chunk = std::max<int64_t>(1, kCopyChunkBytes / row_bytes);
  return pool_.ForEach(DivideRoundingUp(rows.rows, per_chunk), [&](int64_t chunk) -> absl::Status {
    const int64_t row = chunk * per_chunk;
    const int64_t count = std::min(per_chunk, rows.rows - row);
    const auto* begin = static_cast<const std::byte*>(rows.data) + row * row_bytes;
    const std::span<const std::byte> bytes(begin, static_cast<size_t>(count * row_bytes));
    if (!AllFinite(bytes, rows.dtype)) return NotFinite(name, row);
    return WriteAs(*stored, row, row_bytes, rows.dtype, bytes);
  });
}

// Rows of a tensor as they lie in the checkpoint, in the type that the plan has for them.
absl::Status PackedTensors::WriteAs(const TensorInfo& stored, int64_t row, int64_t row_bytes,
                                    DType dtype, std::span<const std::byte> bytes) {
  if (stored.dtype == dtype) return Write(stored.name, row * row_bytes, bytes);
  const int64_t count = static_cast<int64_t>(bytes.size()) / SizeOf(dtype);
  AlignedBuffer<float> values(count);
  AlignedBuffer<std::byte> narrow(count * SizeOf(stored.dtype));
  WidenToF32(bytes.data(), dtype, count, values.data());
  NarrowFromF32(values.data(), count, stored.dtype, narrow.data());
  const int64_t offset = row * (row_bytes / SizeOf(dtype)) * SizeOf(stored.dtype);
  return Write(stored.name, offset, narrow.span());
}

absl::Status PackedTensors::WriteValues(std::string_view name, std::span<const float> values) {
  const TensorInfo* planned = Planned(name);
  if (planned == nullptr) return Write(name, 0, {});
  AlignedBuffer<std::byte> bytes(planned->bytes());
  NarrowFromF32(values.data(), planned->elements(), planned->dtype, bytes.data());
  return Write(name, 0, bytes.span());
}

}  // namespace quantd
