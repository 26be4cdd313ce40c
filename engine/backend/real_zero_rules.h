// The rules of real zero points: how a zero is rounded, and the search of a scale and zero. As
// rules.h: the same source for every instruction set, so that all agree bit for bit. Formulas:
// docs/numerics.md, HQQ.
#pragma once

#include <cstdint>

#include "engine/backend/real_zero_kernels.h"
#include "engine/backend/rules.h"

namespace quantd::rules {

// Any number to the nearest of `dtype`, its sign and zero kept; at most the largest finite.
QD_HOST_DEVICE static inline float RoundReal(float value, DType dtype) {
  const float magnitude = Magnitude(value);
  if (magnitude < kSmallestNormal) return 0;
  float rounded = magnitude;
  if (dtype == DType::kBF16) rounded = RoundToBF16(magnitude);
  if (dtype == DType::kF16) {
    rounded = magnitude < 2.98023223876953125e-8f ? 0 : RoundToF16(magnitude);
  }
  return value < 0 ? -rounded : rounded;
}

// A zero point as stored: exact both for signed codes and for codes from 0, since layouts store
// either. The coarser of the two steps decides, so rounding once in each is enough.
QD_HOST_DEVICE static inline float RoundZero(float zero, const RealZeroCodes& codes) {
  const float offset = static_cast<float>(codes.offset);
  // Beyond, steps of f32 are wider than one code.
  const float bounded = Clamp(zero, -1e6f, 1e6f);
  return RoundReal(RoundReal(bounded + offset, codes.dtype) - offset, codes.dtype);
}

// code - zero of a weight.
QD_HOST_DEVICE static inline float RealStepOf(float weight, float scale, float zero, float low,
                                              float high) {
  return RoundToInteger(Clamp(weight / scale + zero, low, high)) - zero;
}

struct RealZeroFit {
  float scale, zero;
};

// A group in units of its own: value v = (w - center) / unit, in [-1, 1].
struct GroupFrame {
  float center, unit;
  float weight;  // sum of the importance
};

// Candidates q = clamp(round(v * span + shift)).
struct AffineCandidates {
  float span[kTogether], shift[kTogether];
};
// Of each candidate, with p = q - round(shift), which keeps the sums small: of h p, h p^2, h v p.
struct AffineSums {
  float code[kTogether], code_code[kTogether], value_code[kTogether];
};

// The best of a search: the line v = (q - shift) / span through the codes by least squares, and how
// much of the sum of h v^2 it explains. The first seen wins ties.
struct AffineFit {
  float explained, span, shift;
  int index;
};

QD_HOST_DEVICE static inline void OfferLines(const AffineSums& sums,
                                             const AffineCandidates& candidates, float weight,
                                             int first_index, AffineFit* best) {
  const float inverse_weight = 1.0f / weight;
  float variance[kTogether], explained[kTogether];
  for (int c = 0; c < kTogether; ++c) {
    variance[c] = sums.code_code[c] - sums.code[c] * (sums.code[c] * inverse_weight);
    // Codes that are all alike, up to rounding, explain nothing.
    const bool sound = variance[c] > 1e-6f * sums.code_code[c] && sums.value_code[c] > 0;
    explained[c] = sound ? sums.value_code[c] * sums.value_code[c] / variance[c] : 0;
  }
  int winner = 0;
  for (int c = 1; c < kTogether; ++c) winner = explained[c] > explained[winner] ? c : winner;
  if (!(explained[winner] > best->explained)) return;
  best->explained = explained[winner];
  best->index = first_index + winner;
  best->span = variance[winner] / sums.value_code[winner];
  best->shift = RoundToInteger(candidates.shift[winner]) + sums.code[winner] * inverse_weight;
}

// How far each end of the range is moved inwards in the grid, as a part of the range: `count`
// positions for each end, a multiple of kTogether. The fewer the codes, the more clipping pays.
struct EndGrid {
  int count;
  float inwards[8];
  float widening[8][8];  // by how much the span grows when the ends are at i and j
};
static constexpr EndGrid MakeEndGrid(float first, float step, int count) {
  EndGrid grid = {count, {}, {}};
  for (int i = 0; i < count; ++i) grid.inwards[i] = first + step * static_cast<float>(i);
  for (int i = 0; i < count; ++i) {
    for (int j = 0; j < count; ++j) {
      grid.widening[i][j] = 1.0f / (1.0f - grid.inwards[i] - grid.inwards[j]);
    }
  }
  return grid;
}
static constexpr EndGrid kTwoLevels = MakeEndGrid(0.04f, 0.06f, 8);
static constexpr EndGrid kThreeLevels = MakeEndGrid(0.0f, 0.06f, 8);
static constexpr EndGrid kTwoBits = MakeEndGrid(-0.02f, 0.05f, 8);
static constexpr EndGrid kThreeBits = MakeEndGrid(-0.02f, 0.03f, 8);
static constexpr EndGrid kFourBits = MakeEndGrid(-0.02f, 0.03f, 4);
static constexpr EndGrid kMoreBits = MakeEndGrid(-0.004f, 0.006f, 4);
static inline const EndGrid& GridOf(int steps) {
  if (steps <= 1) return kTwoLevels;
  if (steps <= 2) return kThreeLevels;
  if (steps <= 3) return kTwoBits;
  if (steps <= 7) return kThreeBits;
  return steps <= 15 ? kFourBits : kMoreBits;
}

template <typename Measure>
QD_HOST_DEVICE static inline AffineFit SearchLines(const Measure& measure, const GroupFrame& frame,
                                                   float low, float high, int first_code,
                                                   int steps) {
  const EndGrid& grid = GridOf(steps);
  const float first = static_cast<float>(first_code), range = high - low;
  const float whole = static_cast<float>(steps) / range;
  AffineFit best = {0, whole, first - low * whole, -1};
  for (int i = 0; i < grid.count; ++i) {
    const float begin = low + range * grid.inwards[i];
    for (int j = 0; j < grid.count; j += kTogether) {
      AffineCandidates candidates;
      for (int c = 0; c < kTogether; ++c) {
        candidates.span[c] = whole * grid.widening[i][j + c];
        candidates.shift[c] = first - begin * candidates.span[c];
      }
      OfferLines(measure.Fit(frame, candidates), candidates, frame.weight, 0, &best);
    }
  }
  return best;
}

// Codes by the best line, then the line by the codes, with neighbours tried beside it: finer steps
// and a shifted zero.
template <typename Measure>
QD_HOST_DEVICE static inline void PolishLine(const Measure& measure, const GroupFrame& frame,
                                             AffineFit* best) {
  constexpr int kRounds = 4;
  float reach = 1.0f;
  for (int round = 0; round < kRounds; ++round) {
    const float span = best->span, shift = best->shift;
    AffineCandidates candidates = {
        {span, span * (1.0f + 0.02f * reach), span * (1.0f - 0.02f * reach), span},
        {shift, shift, shift, shift + (round % 2 == 0 ? 0.25f : -0.25f) * reach}};
    best->index = -1;
    OfferLines(measure.Fit(frame, candidates), candidates, frame.weight, 0, best);
    if (best->index < 0) reach *= 0.5f;
  }
}

// The scale that spans [min, max] with `steps` steps, and the zero.
QD_HOST_DEVICE static inline RealZeroFit RangeFit(float min, float max,
                                                  const RealZeroCodes& codes) {
  if (min == max) {  // all weights alike: one step from zero
    const float scale = min == 0 ? 1.0f : RoundScale(Magnitude(min), codes.dtype);
    const float zero = min == 0 ? 0.0f : (min < 0 ? 1.0f : -1.0f);
    return {scale, zero};
  }
  const float steps = static_cast<float>(codes.high - codes.low);
  const float scale = RoundScale((max / 2 - min / 2) / steps * 2, codes.dtype);
  return {scale, RoundZero(static_cast<float>(codes.low) - min / scale, codes)};
}

template <typename Measure>
QD_HOST_DEVICE static inline RealZeroFit SearchRealZero(const Measure& measure, float min,
                                                        float max, const RealZeroCodes& codes) {
  if (min == max) return RangeFit(min, max, codes);
  // Beyond, the squares of the search do not fit f32.
  const float range = max - min;
  if (!(range > 1e-18f && range < 1e18f)) {
    return RangeFit(Smaller(min, 0), Larger(max, 0), codes);
  }
  const int steps = codes.high - codes.low;
  const GroupFrame frame = measure.Frame(min, max);
  const float low = (min - frame.center) / frame.unit, high = (max - frame.center) / frame.unit;
  AffineFit best = SearchLines(measure, frame, low, high, codes.low, steps);
  PolishLine(measure, frame, &best);

  // As stored: the scale and its two neighbours, each with the zero that fits it.
  RealZeroFit finalists[kTogether];
  finalists[0] = RangeFit(Smaller(min, 0), Larger(max, 0), codes);
  const float scale = frame.unit / best.span;
  const float around[3] = {1.0f, codes.dtype == DType::kF16 ? 1.0009765625f : 1.00390625f,
                           codes.dtype == DType::kF16 ? 0.9990234375f : 0.99609375f};
  for (int c = 1; c < kTogether; ++c) {
    const float stored = RoundScale(scale * around[c - 1], codes.dtype);
    finalists[c] = {stored, RoundZero(best.shift - frame.center / stored, codes)};
  }
  float errors[kTogether];
  measure.Errors(finalists, codes, errors);
  RealZeroFit chosen = finalists[0];
  double least = kWorstError;
  for (int c = 0; c < kTogether; ++c) {
    const double error = static_cast<double>(errors[c]) * finalists[c].scale * finalists[c].scale;
    if (error < least) {
      least = error;
      chosen = finalists[c];
    }
  }
  return chosen;
}

}  // namespace quantd::rules
