// Scratch memory of a thread: kept between calls and grown when needed, so that the operations
// allocate nothing.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "engine/tensor/tensor.h"

namespace quantd {

// What the scratch is for: calls that are active at the same time use different slots.
enum class Scratch {
  kInput,  // of a matrix product, in the precision it is multiplied in
  kSums,   // of an integer product
  kSumsPart,
  kQuery,
  kKeyValue,
  kScores,
  kWeights,  // of attention, narrowed
  kAttended,
  kPrimitive,  // oneDNN's own
  kCount,
};

// Room for `count` values of T, aligned to 64 bytes; what was in it is undefined. Valid until the
// next call with the same slot in the same thread.
template <typename T>
T* Workspace(Scratch slot, int64_t count) {
  thread_local std::array<AlignedBuffer<std::byte>, static_cast<size_t>(Scratch::kCount)> buffers;
  AlignedBuffer<std::byte>& buffer = buffers[static_cast<size_t>(slot)];
  const int64_t bytes = count * static_cast<int64_t>(sizeof(T));
  if (buffer.size() < bytes) {
    buffer = {};  // freed before the larger one is taken
    buffer = AlignedBuffer<std::byte>(bytes);
  }
  return reinterpret_cast<T*>(buffer.data());
}

}  // namespace quantd
