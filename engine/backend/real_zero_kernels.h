// Kernels for groups whose zero point is a real number: w ~ (code - zero) * scale. One table per
// instruction set, all of the same bits (engine/backend/kernels.h).
#pragma once

#include <cstdint>

#include "engine/tensor/dtype.h"

namespace quantd {

// The codes of a scheme and how its scales and zeros are stored.
struct RealZeroCodes {
  int low = 0, high = 0;      // signed codes, low <= 0 <= high
  int offset = 0;             // a file that stores code + offset stores zero + offset
  DType dtype = DType::kF32;  // of scales and zeros
  bool operator==(const RealZeroCodes&) const = default;
};

// What a run of zero updates with the scale held fixed does.
struct ZeroUpdates {
  int count = 20;
  // Keep the zero whose squared error was the least, instead of the last.
  bool keep_best = false;
};

struct RealZeroKernels {
  // The scale and zero of one group that give its squared error, weighted by `importance` (null:
  // all alike), a small value; both as stored. Never worse than the range of the weights with 0 in
  // it. docs/numerics.md, HQQ.
  void (*search)(const float* weights, const float* importance, int64_t count,
                 const RealZeroCodes& codes, float* scale, float* zero);
  // Alternates: q = clamp(round(w * inverse + zero), 0, most), zero = mean of q - w * inverse,
  // weighted by `importance`. `zero` is of codes from 0. Adds to errors[i], unless null, the sum of
  // |w - (q - zero) / inverse| before update i. Returns the largest |w - (q - zero) / inverse|
  // seen.
  float (*update_zero)(const float* weights, const float* importance, int64_t count, float inverse,
                       int most, const ZeroUpdates& updates, float* zero, double* errors);
  // codes = clamp(round_half_even(w / scale + zero), low, high); adds the sums of w^2 and of (w -
  // (code - zero) scale)^2.
  void (*quantize)(const float* weights, int64_t count, float scale, float zero,
                   const RealZeroCodes& codes, int8_t* to, double* weight_energy,
                   double* error_energy);
};

}  // namespace quantd
