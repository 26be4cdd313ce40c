// The quantization kernels of a backend, as a table of functions: one per instruction set on the
// CPU. All of them give the same bits, those of the scalar reference, which follows rules.h.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "engine/backend/real_zero_kernels.h"
#include "engine/tensor/tensor.h"
#include "engine/types/scheme.h"

namespace quantd {

struct QuantizeKernels {
  std::string_view isa;  // "scalar", "avx2", "avx512"

  // Chooses the scale (and zero) of one group of `count` weights by the scheme's rule. `importance`
  // is null or `count` non-negative weights of the error. The scale is already rounded to
  // scheme.scale_dtype.
  void (*choose_scale)(const float* weights, const float* importance, int64_t count,
                       const Scheme& scheme, float* scale, int8_t* zero);
  // codes = clamp(round_half_even(w / scale) + zero); adds the group's sum of w^2 and of (w - (code
  // - zero) scale)^2.
  void (*quantize)(const float* weights, int64_t count, float scale, int8_t zero, int bits,
                   int8_t* codes, double* weight_energy, double* error_energy);
  // to = a * b, value by value; `to` may be either.
  void (*multiply)(const float* a, const float* b, int64_t count, float* to);
  // The sum of h e^2, e = step scale - w, w rounded to steps as in the searches of
  // rules.h; h is the importance (1 where null). Where `errors` is not null it gets every e.
  float (*rounding_error)(const float* weights, const float* importance, int64_t count, float scale,
                          int8_t zero, int bits, float* errors);
  // Whether all values are finite.
  bool (*all_finite)(const float* values, int64_t count);
  // Packs `count` signed codes of 4 bits, stored as code + 8, low bits first, 8 per int32.
  void (*pack4)(const int8_t* codes, int64_t count, uint32_t* words);
  // One token row to int8: scale = absmax / 127 (1 when the row is zero), codes = round_half_even(x
  // / scale).
  void (*quantize_token)(const float* x, int64_t count, int8_t* codes, float* scale);
  RealZeroKernels real_zero;
};

// The best kernels this machine can run; QUANTD_CPU_ISA=scalar|avx2|avx512 forces one (an unknown
// or impossible value aborts at start-up with a message).
const QuantizeKernels& CpuKernels();
// All that this machine can run, the scalar reference first.
std::span<const QuantizeKernels* const> AllCpuKernels();

}  // namespace quantd
