// The loops over rows that lie between the matrix products, as a table of functions: one per
// instruction set. All of them give the same bits: they add in sixteen lanes whatever the width of
// the machine's vectors, never fuse a multiplication with an addition, and treat the tail of a row
// as a vector padded with neutral values.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "engine/types/activation.h"

namespace quantd {

// max and sum of exp(x - max) of one row.
struct RowSum {
  float max;
  double sum;
};

struct RowOps {
  std::string_view isa;  // "scalar", "avx2", "avx512": the names of QuantizeKernels::isa

  // y = x / sqrt(mean(x^2) + epsilon) * gain. y may be x.
  void (*rms_norm)(const float* x, const float* gain, int64_t width, float epsilon, float* y);
  // y = (x - mean) / sqrt(variance + epsilon) * gain + bias; bias may be null, y may be x.
  void (*layer_norm)(const float* x, const float* gain, const float* bias, int64_t width,
                     float epsilon, float* y);
  // One head: (a, b) = (a cos - b sin, b cos + a sin), a = x[0, half), b = x[half, 2 half).
  void (*rope)(float* x, int64_t half, const float* cos, const float* sin);
  // x = f(x), and gate = f(gate) * up.
  void (*activate)(Activation activation, float* x, int64_t count);
  void (*activate_multiply)(Activation activation, float* gate, const float* up, int64_t count);
  // x = cap tanh(x / cap).
  void (*soft_cap)(float* x, float cap, int64_t count);
  // x += y.
  void (*add)(float* x, const float* y, int64_t count);
  // x += y * factor.
  void (*add_times)(float* x, const float* y, float factor, int64_t count);
  // y = x * factor. y may be x.
  void (*scale)(const float* x, float factor, int64_t count, float* y);
  // Rounds to bf16, ties to even. Finite values only: a NaN may become infinite, never finite.
  void (*to_bf16)(const float* x, int64_t count, uint16_t* y);
  // y[i] += float(sums[i]) * factor * scales[i].
  void (*add_scaled)(const int32_t* sums, float factor, const float* scales, int64_t count,
                     float* y);
  // codes[i] = clamp(round_half_even(x[i] / scale) + zero, -128, 127). Finite values only.
  void (*to_codes)(const float* x, int64_t count, float scale, int zero, int8_t* codes);
  // x = exp(x - max(x)) in place; returns the sum.
  float (*exp_minus_max)(float* x, int64_t count);
  RowSum (*sum_exp)(const float* x, int64_t count);
  // Sum of exp(x - max_x) (x - y).
  double (*weighted_difference)(const float* x, const float* y, float max_x, int64_t count);
  // y = exp(x), within 2 units in the last place for x in [-87.3, 88.3]; 0 below, clamped above.
  // For tests.
  void (*exp)(const float* x, int64_t count, float* y);
};

// Those of CpuKernels().isa.
const RowOps& CpuRowOps();
// All that this machine can run, the scalar ones first.
std::span<const RowOps* const> AllCpuRowOps();

}  // namespace quantd
