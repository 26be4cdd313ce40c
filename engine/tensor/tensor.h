// What a tensor is called and looks like, and memory for one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <span>
#include <string>
#include <vector>

#include "engine/tensor/block_type.h"
#include "engine/tensor/dtype.h"

namespace quantd {

struct TensorInfo {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;  // row-major; empty for a scalar
  // Blocks instead of elements of `dtype`: the last dimension is a multiple of block->elements.
  const BlockType* block = nullptr;

  int64_t elements()
      const;  // the product of shape; shapes from outside were checked for overflow by the reader
  int64_t bytes() const {
    return block != nullptr ? block->RowBytes(elements()) : elements() * SizeOf(dtype);
  }
  bool operator==(const TensorInfo&) const = default;
};

// Rows of a weight matrix as they lie in the checkpoint: [rows, columns], row-major, F32, F16 or
// BF16. Does not own.
struct WeightRows {
  const void* data = nullptr;
  DType dtype = DType::kF32;
  int64_t rows = 0;
  int64_t columns = 0;

  // Rows [begin, begin + count).
  WeightRows Slice(int64_t begin, int64_t count) const;
};

// Uninitialised memory aligned to 64 bytes. `T` is trivial.
template <typename T>
class AlignedBuffer {
 public:
  AlignedBuffer() = default;
  explicit AlignedBuffer(int64_t size)
      : data_(static_cast<T*>(
            ::operator new(static_cast<size_t>(size) * sizeof(T), std::align_val_t{64}))),
        size_(size) {}

  T* data() { return data_.get(); }
  const T* data() const { return data_.get(); }
  int64_t size() const { return size_; }
  std::span<T> span() { return {data_.get(), static_cast<size_t>(size_)}; }
  std::span<const T> span() const { return {data_.get(), static_cast<size_t>(size_)}; }

 private:
  struct Free {
    void operator()(T* pointer) const { ::operator delete(pointer, std::align_val_t{64}); }
  };
  std::unique_ptr<T, Free> data_;
  int64_t size_ = 0;
};

// A whole tensor in memory, as it lies in the checkpoint.
struct Tensor {
  TensorInfo info;
  AlignedBuffer<std::byte> bytes;

  WeightRows Rows() const;  // of a 2-D tensor
};

// Widens `count` elements of `dtype` (F32, F16, BF16, FP8) to f32; exact. SIMD where the machine
// has it.
void WidenToF32(const void* from, DType dtype, int64_t count, float* to);
// Rounds f32 to nearest, ties to even. NaN stays NaN.
void NarrowFromF32(const float* from, int64_t count, DType dtype, void* to);

}  // namespace quantd
