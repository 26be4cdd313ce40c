#include "engine/tensor/tensor.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "engine/tensor/float8.h"
#include "engine/tensor/float_conversion.h"

namespace quantd {
namespace {

// A mistake of the caller: weights of another type were refused when the checkpoint was planned.
[[noreturn]] void RefuseType(const char* function, DType dtype) {
  std::fprintf(stderr, "%s: got %s, wanted F32, F16 or BF16\n", function,
               std::string(NameOf(dtype)).c_str());
  std::abort();
}

}  // namespace

int64_t TensorInfo::elements() const {
  int64_t product = 1;
  for (const int64_t size : shape) product *= size;
  return product;
}

WeightRows WeightRows::Slice(int64_t begin, int64_t count) const {
  const int64_t row_bytes = columns * SizeOf(dtype);
  return {.data = static_cast<const std::byte*>(data) + begin * row_bytes,
          .dtype = dtype,
          .rows = count,
          .columns = columns};
}

WeightRows Tensor::Rows() const {
  const int64_t rows = info.shape.empty() ? 1 : info.shape[0];
  return {.data = bytes.data(),
          .dtype = info.dtype,
          .rows = rows,
          .columns = rows == 0 ? 0 : info.elements() / rows};
}

void WidenToF32(const void* from, DType dtype, int64_t count, float* to) {
  if (count <= 0) return;
  const FloatConversion& best = FloatConversions().back();
  switch (dtype) {
    case DType::kF32:
      std::memcpy(to, from, static_cast<size_t>(count) * sizeof(float));
      return;
    case DType::kF16:
      return best.widen_f16(from, count, to);
    case DType::kBF16:
      return best.widen_bf16(from, count, to);
    case DType::kF8E4M3:
    case DType::kF8E5M2:
    case DType::kF8E8M0:
      return WidenFloat8(from, dtype, count, to);
    default:
      RefuseType("WidenToF32", dtype);
  }
}

void NarrowFromF32(const float* from, int64_t count, DType dtype, void* to) {
  if (count <= 0) return;
  const FloatConversion& best = FloatConversions().back();
  switch (dtype) {
    case DType::kF32:
      std::memcpy(to, from, static_cast<size_t>(count) * sizeof(float));
      return;
    case DType::kF16:
      return best.narrow_f16(from, count, to);
    case DType::kBF16:
      return best.narrow_bf16(from, count, to);
    default:
      RefuseType("NarrowFromF32", dtype);
  }
}

}  // namespace quantd
