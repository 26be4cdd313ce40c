// The rules of quantization: how a scale is rounded and chosen, how a weight becomes a code. The
// scalar reference, the SIMD kernels and device code all compile this file, so that they agree bit
// for bit. Formulas: docs/numerics.md.
//
// Only + - * / and comparisons of f32 and f64, each rounded to nearest-even, fused only where it
// says so (-ffp-contract=off). Inputs are finite: NaN and infinity are refused before. Functions
// are static: every translation unit, compiled for its own instruction set, keeps its own copy.
#pragma once

#include <cstdint>

#include "engine/tensor/dtype.h"
#include "engine/tensor/small_float.h"

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
//
// `measure` is the group: its Fit and Exact pass over the weights once and sum in f32, with fused
// multiply-adds. With C = 1.5 * 2^23, where f32 has no fraction,
//   step(x, y) = clamp(fma(x, y, C), C + low, C + high) - C
// is the product of x and y, rounded once, to the steps; h is the importance (1 without).

// Candidates measured in one pass.
inline constexpr int kTogether = 4;

// Candidate scales unit / span, each with the steps it may use.
struct SpanCandidates {
  float span[kTogether];
  Steps steps[kTogether];
};
// With u = w * (1 / unit) and step = step(u, span): of h u step and h step^2.
struct FitSums {
  float value_step[kTogether], step_step[kTogether];
};

// With step = step(w, 1 / scale) and e = fma(w, 1 / scale, -step): of h e^2, h e step, h step^2.
struct ErrorSums {
  float error_error, error_step, step_step;
};

// The best of a search so far, by how much of the group's energy its refitted steps explain, in
// units of unit^2: least squares leaves sum(u^2) - sum(u step)^2 / sum(step^2). The first seen wins
// ties.
struct BestFit {
  float explained;
  int index;
  float fitted;  // scale / unit
};
QD_HOST_DEVICE static inline void OfferFits(const FitSums& sums, int first_index, BestFit* best) {
  // As one integer each, so that a machine compares them without branches, which would be taken at
  // random: floats above zero are in the order of their bits.
  uint64_t keys[kTogether];
  float fitted[kTogether];
  for (int c = 0; c < kTogether; ++c) {
    // sum(step^2) is an integer without importance; where it is nothing, so is sum(u step).
    fitted[c] = sums.value_step[c] / Larger(sums.step_step[c], kSmallestNormal);
    const float explained = Larger(sums.value_step[c] * fitted[c], 0);
    uint32_t bits = 0;
    __builtin_memcpy(&bits, &explained, sizeof(bits));
    keys[c] = uint64_t{bits} << 32 | static_cast<uint32_t>(kTogether - c);
  }
  uint64_t most = keys[0];
  for (int c = 1; c < kTogether; ++c) most = keys[c] > most ? keys[c] : most;
  const int at = kTogether - static_cast<int>(most & 0xffffffffu);
  const uint32_t bits = static_cast<uint32_t>(most >> 32);
  float explained = 0;
  __builtin_memcpy(&explained, &bits, sizeof(bits));
  const bool better = explained > best->explained;
  best->explained = better ? explained : best->explained;
  best->index = better ? first_index + at : best->index;
  best->fitted = better ? fitted[at] : best->fitted;
}

struct Finalist {
  float scale;
  int zero;
  double error;
};

// The squared error of a candidate in units of w^2.
QD_HOST_DEVICE static inline double ErrorOf(ErrorSums sums, float scale) {
  return static_cast<double>(sums.error_error) * scale * scale;
}
// The scale that fits the candidate's steps best (least squares).
QD_HOST_DEVICE static inline float RefinedScale(ErrorSums sums, float scale) {
  if (sums.step_step == 0) return scale;
  return scale * (1.0f + sums.error_step / sums.step_step);
}

QD_HOST_DEVICE static inline float AwayFromZero(float scale) {
  if (Magnitude(scale) >= kSmallestNormal) return scale;
  return scale < 0 ? -kSmallestNormal : kSmallestNormal;
}

// Measures the error that `count` finalists, their scales already as stored, really give; keeps the
// best, the first winning ties, and refits every one to the steps it gave.
template <int count, typename Measure>
QD_HOST_DEVICE static inline void MeasureAndRefit(const Measure& measure, int bits, DType dtype,
                                                  Finalist* finalists, Finalist* best) {
  float inverses[count];
  Steps steps[count];
  for (int c = 0; c < count; ++c) {
    inverses[c] = 1.0f / finalists[c].scale;
    steps[c] = StepsOf(bits, finalists[c].zero);
  }
  ErrorSums sums[count];
  measure.template Exact<count>(inverses, steps, sums);
  for (int c = 0; c < count; ++c) {
    Finalist& finalist = finalists[c];
    finalist.error = ErrorOf(sums[c], finalist.scale);
    if (finalist.error < best->error) *best = finalist;
    finalist.scale = RoundScale(RefinedScale(sums[c], finalist.scale), dtype);
  }
}

inline constexpr double kWorstError = 1e300;  // above every other

// How many steps the largest weight of a group spans, in halves of the code range: candidates run
// from a little below 1 (wider than the range) up, where the largest weights are clipped. The fewer
// the bits, the more clipping can pay. `count` is a multiple of kTogether.
struct SpanGrid {
  float first, step;
  int count;
};
QD_HOST_DEVICE static inline SpanGrid SymmetricGrid(int bits) {
  if (bits <= 2) return {0.80f, 0.20f, 8};
  if (bits == 3) return {0.88f, 0.14f, 8};
  if (bits == 4) return {0.90f, 0.08f, 8};
  return {0.96f, 0.02f, 8};
}

// The grid of one sign: past its end only while the last of it is the best, for rows with far
// outliers.
template <typename Measure>
QD_HOST_DEVICE static inline BestFit FitSymmetric(const Measure& measure, float unit, int bits) {
  const Steps steps = StepsOf(bits, 0);
  const SpanGrid grid = SymmetricGrid(bits);
  BestFit here = {0, -1, 1.0f};
  for (int i = 0; i < 6 * grid.count; i += kTogether) {
    if (i >= grid.count && here.index != i - 1) break;
    SpanCandidates candidates;
    for (int c = 0; c < kTogether; ++c) {
      candidates.span[c] = (grid.first + static_cast<float>(i + c) * grid.step) * -steps.low;
      candidates.steps[c] = steps;
    }
    OfferFits(measure.Fit(1.0f / unit, candidates), i, &here);
  }
  return here;
}

// Symmetric: a grid of scales, each refitted by least squares; the best is polished: rounded to its
// stored type, measured, refitted and measured again. Never worse than absmax by its own measure.
// The codes reach one step further down than up, and a negative scale turns that around: the sign
// is the one that gives the largest weight the longer side; where a step is much (below 4 bits, and
// at 4 with importance, which the largest weight may lack) both are tried.
template <typename Measure>
QD_HOST_DEVICE static inline ScaleZero SearchSymmetric(const Measure& measure, float min, float max,
                                                       int bits, DType dtype) {
  const float absmax = Larger(-min, max);
  if (absmax == 0) return {1.0f, 0};
  const float size = AwayFromZero(absmax);
  const float unit = -min >= max ? size : -size;
  const BestFit fit = FitSymmetric(measure, unit, bits);
  float fitted_scale = fit.fitted * unit;
  if (bits < 4 || (bits == 4 && Measure::kWeighted)) {
    const BestFit other = FitSymmetric(measure, -unit, bits);
    if (other.explained > fit.explained) fitted_scale = other.fitted * -unit;
  }

  const float plain = AbsmaxSymmetric(absmax, bits, dtype).scale;
  Finalist finalists[2] = {{plain, 0, kWorstError},
                           {RoundScale(fitted_scale, dtype), 0, kWorstError}};
  Finalist best = finalists[0];
  MeasureAndRefit<2>(measure, bits, dtype, finalists, &best);
  MeasureAndRefit<1>(measure, bits, dtype, finalists + 1, &best);
  return {best.scale, best.zero};
}

// Asymmetric: both ends of the range shrink independently; the best is tried with neighbouring
// zeros and polished.
template <typename Measure>
QD_HOST_DEVICE static inline ScaleZero SearchAsymmetric(const Measure& measure, float min,
                                                        float max, int bits, DType dtype) {
  if (min == 0 && max == 0) return {1.0f, 0};
  const float count = static_cast<float>((1 << bits) - 1);
  const int half = 1 << (bits - 1);
  constexpr int kMostTries = 4;
  const int tries = bits <= 4 ? kMostTries : 2;
  const float shrink = bits <= 2 ? 0.18f : bits == 3 ? 0.13f : bits == 4 ? 0.1f : 0.02f;
  const ScaleZero plain = MinMaxAsymmetric(min, max, bits, dtype);
  const float unit = AwayFromZero(Larger(-min, max));
  const float inverse_unit = 1.0f / unit;
  BestFit fit = {0, -1, plain.scale * inverse_unit};
  int zero = plain.zero;
  // Again from the best range, as long as the best lies at the edge of the grid: rows with far
  // outliers. Both ends in units of `unit`.
  float from_low = min * inverse_unit, from_high = max * inverse_unit;
  for (int round = 0; round < 5; ++round) {
    fit.index = -1;
    int zeros[kMostTries * kMostTries];
    for (int at = 0; at < tries * tries; at += kTogether) {
      SpanCandidates candidates;
      for (int c = 0; c < kTogether; ++c) {
        const float low = from_low * (1.0f - shrink * static_cast<float>((at + c) / tries));
        const float high = from_high * (1.0f - shrink * static_cast<float>((at + c) % tries));
        // At most 2^40 steps to the unit: groups of denormals have almost no range.
        const float span = count / Larger(high - low, 9.094947e-13f);
        const float first = static_cast<float>(-half), last = static_cast<float>(half - 1);
        const float code = RoundToInteger(Clamp(first - low * span, first, last));
        candidates.span[c] = span;
        candidates.steps[c] = {first - code, last - code};
        zeros[at + c] = static_cast<int>(code);
      }
      OfferFits(measure.Fit(inverse_unit, candidates), at, &fit);
    }
    if (fit.index < 0) break;
    zero = zeros[fit.index];
    const int i = fit.index / tries, j = fit.index % tries;
    from_low *= 1.0f - shrink * static_cast<float>(i);
    from_high *= 1.0f - shrink * static_cast<float>(j);
    if (i < tries - 1 && j < tries - 1) break;
  }
  Finalist finalists[4] = {{plain.scale, plain.zero, kWorstError}};
  for (int c = 1; c < 4; ++c) {
    const int near = zero + c - 2;
    finalists[c] = {RoundScale(fit.fitted * unit, dtype),
                    near < -half ? -half : (near > half - 1 ? half - 1 : near), kWorstError};
  }
  Finalist best = finalists[0];
  MeasureAndRefit<4>(measure, bits, dtype, finalists, &best);
  MeasureAndRefit<3>(measure, bits, dtype, finalists + 1, &best);
  return {best.scale, best.zero};
}

}  // namespace quantd::rules
