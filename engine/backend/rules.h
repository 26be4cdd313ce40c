// The rules of quantization: how a scale is rounded and chosen, how a weight becomes a code. The
// scalar reference, the SIMD kernels and device code all compile this file, so that they agree bit
// for bit. Formulas: docs/numerics.md.
//
// Only + - * / and comparisons of f32 and f64, each rounded to nearest-even, none fused
// (-ffp-contract=off). Inputs are finite: NaN and infinity are refused before. Functions are
// static: every translation unit, compiled for its own instruction set, keeps its own copy.
#pragma once

#include <cstdint>

#include "engine/tensor/dtype.h"

#if defined(__CUDACC__)
#define QD_HOST_DEVICE __host__ __device__
#else
#define QD_HOST_DEVICE
#endif

namespace quantd::rules {

// Sums over a group run in 16 lanes: lane j takes elements j, j + 16, j + 32, … in order (missing
// ones count as zero); then lane j takes j + 8, j takes j + 4, j + 2, j + 1.
inline constexpr int kLanes = 16;

// The smallest scale in f32 and bf16: below it, reciprocals overflow and many machines flush to
// zero.
inline constexpr float kSmallestNormal = 1.17549435e-38f;  // 2^-126

QD_HOST_DEVICE static inline float Larger(float a, float b) { return a > b ? a : b; }
QD_HOST_DEVICE static inline float Smaller(float a, float b) { return a < b ? a : b; }
QD_HOST_DEVICE static inline float Magnitude(float a) { return a < 0 ? -a : a; }
QD_HOST_DEVICE static inline float Clamp(float value, float low, float high) {
  return Larger(Smaller(value, high), low);
}

// Rounds to an integer, ties to even, for |value| < 2^22: adding 1.5 * 2^23 leaves no room for a
// fraction.
QD_HOST_DEVICE static inline float RoundToInteger(float value) {
  constexpr float kNoFraction = 12582912.0f;
  return (value + kNoFraction) - kNoFraction;
}

// What the codes of a scheme can be, less the zero: w ~ step * scale with step in [low, high].
struct Steps {
  float low, high;
};
QD_HOST_DEVICE static inline Steps StepsOf(int bits, int zero) {
  const int half = 1 << (bits - 1);
  return {static_cast<float>(-half - zero), static_cast<float>(half - 1 - zero)};
}

// code = StepOf(w, scale, steps) + zero. Clamping to integers before rounding gives what clamping
// after it gives.
QD_HOST_DEVICE static inline float StepOf(float weight, float scale, Steps steps) {
  return RoundToInteger(Clamp(weight / scale, steps.low, steps.high));
}

QD_HOST_DEVICE static inline float RoundToBF16(float magnitude) {
  uint32_t bits = 0;
  __builtin_memcpy(&bits, &magnitude, sizeof(bits));
  bits += 0x7fffu + ((bits >> 16) & 1u);
  bits &= 0xffff0000u;
  if (bits > 0x7f7f0000u) bits = 0x7f7f0000u;  // the largest finite
  __builtin_memcpy(&magnitude, &bits, sizeof(bits));
  return magnitude;
}

QD_HOST_DEVICE static inline float RoundToF16(float magnitude) {
  constexpr float kSmallestF16 = 5.9604644775390625e-8f;  // 2^-24
  if (magnitude < 6.103515625e-5f) {                      // 2^-14: subnormal in f16, steps of 2^-24
    const float rounded = (magnitude + 0.5f) - 0.5f;
    return Larger(rounded, kSmallestF16);
  }
  if (magnitude > 65504.0f) return 65504.0f;
  uint32_t bits = 0;
  __builtin_memcpy(&bits, &magnitude, sizeof(bits));
  bits += 0xfffu + ((bits >> 13) & 1u);
  bits &= 0xffffe000u;
  __builtin_memcpy(&magnitude, &bits, sizeof(bits));
  return Smaller(magnitude, 65504.0f);
}

// A scale as it will be stored: rounded to `dtype` (F32, F16 or BF16), ties to even, its sign kept.
// Too large: the largest finite value. Too small: 2^-126, in f16 2^-24, so that it never becomes
// zero.
QD_HOST_DEVICE static inline float RoundScale(float scale, DType dtype) {
  float magnitude = Larger(Magnitude(scale), kSmallestNormal);
  if (dtype == DType::kBF16) magnitude = RoundToBF16(magnitude);
  if (dtype == DType::kF16) magnitude = RoundToF16(magnitude);
  if (magnitude > 3.40282347e38f) magnitude = 3.40282347e38f;
  return scale < 0 ? -magnitude : magnitude;
}

struct ScaleZero {
  float scale;
  int zero;
};

// Symmetric absmax: the range of the codes, 2^b - 1 steps, spans [-absmax, absmax]. A group of
// zeros has scale 1.
QD_HOST_DEVICE static inline ScaleZero AbsmaxSymmetric(float absmax, int bits, DType dtype) {
  if (absmax == 0) return {1.0f, 0};
  const float half_range = static_cast<float>((1 << bits) - 1) / 2;
  return {RoundScale(absmax / half_range, dtype), 0};
}

// The signed zero point of a group whose least weight is `min` <= 0.
QD_HOST_DEVICE static inline int ZeroOf(float min, float scale, int bits) {
  const float half = static_cast<float>(1 << (bits - 1));
  return static_cast<int>(RoundToInteger(Clamp(-half - min / scale, -half, half - 1)));
}

// Asymmetric min-max; min <= 0 <= max, so that 0 is exact.
QD_HOST_DEVICE static inline ScaleZero MinMaxAsymmetric(float min, float max, int bits,
                                                        DType dtype) {
  if (min == 0 && max == 0) return {1.0f, 0};
  const float steps = static_cast<float>((1 << bits) - 1);
  // Halved before the subtraction: the range of a group of the largest floats does not fit f32.
  const float scale = RoundScale((max / 2 - min / 2) / steps * 2, dtype);
  return {scale, ZeroOf(min, scale, bits)};
}

// ---- The search of kMse and kWeightedMse
// -----------------------------------------------------------------------

// Sums over a group for one candidate, with t = w * (1 / scale), step = round(clamp(t)), e = t -
// step and h the importance (1 without): of h e^2, h e step and h step^2. f32 in 16 lanes.
struct ErrorSums {
  float error_error, error_step, step_step;
};

struct Finalist {
  float scale;
  int zero;
  double error;
};

// The squared error of a candidate in units of w^2.
QD_HOST_DEVICE static inline double ErrorOf(ErrorSums sums, float scale) {
  return static_cast<double>(sums.error_error) * scale * scale;
}
// The scale that fits the candidate's steps best (least squares), and the error with it.
QD_HOST_DEVICE static inline float RefinedScale(ErrorSums sums, float scale) {
  if (sums.step_step == 0) return scale;
  return scale * (1.0f + sums.error_step / sums.step_step);
}
QD_HOST_DEVICE static inline double RefinedErrorOf(ErrorSums sums, float scale) {
  if (sums.step_step == 0) return ErrorOf(sums, scale);
  const double fitted = sums.error_error - static_cast<double>(sums.error_step) * sums.error_step /
                                               static_cast<double>(sums.step_step);
  return (fitted < 0 ? 0 : fitted) * scale * scale;
}

QD_HOST_DEVICE static inline float AwayFromZero(float scale) {
  if (Magnitude(scale) >= kSmallestNormal) return scale;
  return scale < 0 ? -kSmallestNormal : kSmallestNormal;
}

// Two best of what was seen, the first seen winning ties.
struct BestTwo {
  Finalist first, second;
  QD_HOST_DEVICE void Offer(Finalist candidate) {
    if (candidate.error < first.error) {
      second = first;
      first = candidate;
    } else if (candidate.error < second.error) {
      second = candidate;
    }
  }
};

// Rounds a scale to its stored type, measures the error it really gives, refits it to the steps it
// gives and measures again, `rounds` times; keeps the best in `best`.
template <typename Measure>
QD_HOST_DEVICE static inline void Polish(const Measure& measure, Finalist start, int bits,
                                         DType dtype, int rounds, Finalist* best) {
  const Steps steps = StepsOf(bits, start.zero);
  float scale = RoundScale(start.scale, dtype);
  for (int round = 0; round < rounds; ++round) {
    const ErrorSums sums = measure(1.0f / scale, steps);
    const double error = ErrorOf(sums, scale);
    if (error < best->error) *best = {scale, start.zero, error};
    const float next = RoundScale(RefinedScale(sums, scale), dtype);
    if (next == scale) return;
    scale = next;
  }
}

// How many steps the largest weight of a group spans, in halves of the code range: candidates run
// from a little below 1 (wider than the range) up, where the largest weights are clipped. The fewer
// the bits, the more clipping can pay.
struct SpanGrid {
  float first, step;
  int count;
};
QD_HOST_DEVICE static inline SpanGrid SymmetricGrid(int bits) {
  if (bits <= 2) return {0.80f, 0.20f, 9};
  if (bits == 3) return {0.88f, 0.14f, 8};
  if (bits == 4) return {0.90f, 0.09f, 8};
  return {0.95f, 0.025f, 8};
}

// Symmetric: a grid of scales of both signs (the codes reach one step further down than up, and a
// negative scale turns that around), each refitted by least squares; the best two are polished.
// Never worse than absmax by its own measure.
template <typename Measure>
QD_HOST_DEVICE static inline ScaleZero SearchSymmetric(const Measure& measure, float absmax,
                                                       int bits, DType dtype) {
  if (absmax == 0) return {1.0f, 0};
  const Steps steps = StepsOf(bits, 0);
  const SpanGrid grid = SymmetricGrid(bits);
  constexpr double kNone = 1e300;
  BestTwo seen = {{0, 0, kNone}, {0, 0, kNone}};
  // Past the grid only while each step still finds something better: rows with far outliers.
  bool better = true;
  for (int i = 0; i < grid.count || (better && i < 6 * grid.count); ++i) {
    const double before = seen.first.error;
    const float span = (grid.first + static_cast<float>(i) * grid.step) * -steps.low;
    const float scale = AwayFromZero(absmax / span);
    for (int sign = 0; sign < 2; ++sign) {
      const float signed_scale = sign == 0 ? scale : -scale;
      const ErrorSums sums = measure(1.0f / signed_scale, steps);
      seen.Offer({RefinedScale(sums, signed_scale), 0, RefinedErrorOf(sums, signed_scale)});
    }
    better = seen.first.error < before;
  }
  Finalist best = {1.0f, 0, kNone};
  Polish(measure, {AbsmaxSymmetric(absmax, bits, dtype).scale, 0, kNone}, bits, dtype, 1, &best);
  Polish(measure, seen.first, bits, dtype, 3, &best);
  Polish(measure, seen.second, bits, dtype, 3, &best);
  return {best.scale, best.zero};
}

// Asymmetric: both ends of the range shrink independently; the best two are tried with neighbouring
// zeros and polished.
template <typename Measure>
QD_HOST_DEVICE static inline ScaleZero SearchAsymmetric(const Measure& measure, float min,
                                                        float max, int bits, DType dtype) {
  if (min == 0 && max == 0) return {1.0f, 0};
  const float count = static_cast<float>((1 << bits) - 1);
  const int half = 1 << (bits - 1);
  const int tries = bits <= 4 ? 4 : 2;
  const float shrink = bits <= 2 ? 0.18f : bits == 3 ? 0.13f : bits == 4 ? 0.1f : 0.04f;
  constexpr double kNone = 1e300;
  BestTwo seen = {{0, 0, kNone}, {0, 0, kNone}};
  const ScaleZero plain = MinMaxAsymmetric(min, max, bits, dtype);
  // Again from the best range, as long as the best lies at the edge of the grid: rows with far
  // outliers.
  bool at_edge = true;
  for (int round = 0; at_edge && round < 5; ++round) {
    at_edge = false;
    const float from_min = min, from_max = max;
    for (int i = 0; i < tries; ++i) {
      for (int j = 0; j < tries; ++j) {
        const float low = from_min * (1.0f - shrink * static_cast<float>(i));
        const float high = from_max * (1.0f - shrink * static_cast<float>(j));
        const float scale = AwayFromZero((high / 2 - low / 2) / count * 2);
        const int zero = ZeroOf(low, scale, bits);
        const ErrorSums sums = measure(1.0f / scale, StepsOf(bits, zero));
        const double error = RefinedErrorOf(sums, scale);
        if (error < seen.first.error) {
          at_edge = i == tries - 1 || j == tries - 1;
          min = low;
          max = high;
        }
        seen.Offer({RefinedScale(sums, scale), zero, error});
      }
    }
  }
  Finalist best = {1.0f, 0, kNone};
  Polish(measure, {plain.scale, plain.zero, kNone}, bits, dtype, 1, &best);
  for (int which = 0; which < 2; ++which) {
    const Finalist start = which == 0 ? seen.first : seen.second;
    for (int shift = -1; shift <= 1; ++shift) {
      const int zero = start.zero + shift;
      if (zero < -half || zero > half - 1) continue;
      Polish(measure, {start.scale, zero, kNone}, bits, dtype, 3, &best);
    }
  }
  return {best.scale, best.zero};
}

}  // namespace quantd::rules
