// Widening of F16 and BF16 to f32 and rounding back, one row per instruction set. All rows give the
// same bits, NaN payloads included; tests compare them.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace quantd {

// Every function converts `count` elements; pointers need no alignment. `half` points to 16-bit
// elements.
struct FloatConversion {
  std::string_view isa;  // "scalar", "avx2", "avx512"
  void (*widen_f16)(const void* half, int64_t count, float* to);
  void (*widen_bf16)(const void* half, int64_t count, float* to);
  void (*narrow_f16)(const float* from, int64_t count, void* half);
  void (*narrow_bf16)(const float* from, int64_t count, void* half);
};

// What this machine can run, slowest first. Never empty.
std::span<const FloatConversion> FloatConversions();

}  // namespace quantd
