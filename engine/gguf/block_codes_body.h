// The body of block_codes_<isa>.cc: written once on vectors of sixteen floats, which the compiler
// lowers to what the instruction set has. Everything has internal linkage.
//
// A sub-block is w[n] with weights h[n] of its errors, n 16 or 32, padded vectors are not needed.
// A fit finds s (and m) for it with the least sum of h (w - (s q - m))^2; for blocks with small
// integers as scales, the block's d (and dmin) and these integers are then chosen together, every
// candidate with codes rounded anew, so that what is compared is what a loader computes.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "engine/gguf/block_codes.h"

#pragma GCC diagnostic ignored \
    "-Wpsabi"  // vectors as parameters of functions that are always inlined

#define QD_INLINE [[maybe_unused]] inline __attribute__((always_inline))

namespace quantd {
namespace {

constexpr int kLanes = 16;
using Floats = float __attribute__((vector_size(64)));

QD_INLINE Floats Load(const float* from) {
  Floats vector;
  std::memcpy(&vector, from, sizeof(vector));
  return vector;
}
QD_INLINE Floats Min(Floats a, Floats b) { return a < b ? a : b; }
QD_INLINE Floats Max(Floats a, Floats b) { return a > b ? a : b; }
QD_INLINE Floats Fill(float value) { return Floats{} + value; }
// To the nearest integer, ties to even, of |value| < 2^22.
QD_INLINE Floats Round(Floats value) {
  const Floats rounder = Fill(12582912.0F);
  return (value + rounder) - rounder;
}

template <typename Combine>
QD_INLINE float Fold(Floats vector, Combine combine) {
  float lanes[kLanes];
  std::memcpy(lanes, &vector, sizeof(lanes));
  for (int width = kLanes / 2; width > 0; width /= 2) {
    for (int i = 0; i < width; ++i) lanes[i] = combine(lanes[i], lanes[i + width]);
  }
  return lanes[0];
}
QD_INLINE float Sum(Floats vector) {
  return Fold(vector, [](float a, float b) { return a + b; });
}

// One sub-block.
struct Span {
  const float* w;
  const float* h;
  int count;
  float low, high;  // of the codes
};

// s and m of one sub-block: w ~ s q - m.
struct Fit {
  float scale = 0, min = 0;
};

float LeastOf(const Span& span) {
  Floats least = Load(span.w);
  for (int i = kLanes; i < span.count; i += kLanes) least = Min(Load(span.w + i), least);
  return Fold(least, [](float a, float b) { return a < b ? a : b; });
}
float GreatestOf(const Span& span) {
  Floats greatest = Load(span.w);
  for (int i = kLanes; i < span.count; i += kLanes) greatest = Max(Load(span.w + i), greatest);
  return Fold(greatest, [](float a, float b) { return a > b ? a : b; });
}

float InverseOf(float scale) {
  const float inverse = 1.0F / scale;
  return scale == 0.0F || !std::isfinite(inverse) ? 0.0F : inverse;
}

// The codes at w inverse + offset. A weight divided by a scale far below it is bounded before it is
// rounded.
QD_INLINE Floats CodesAt(const Span& span, int i, float inverse, float offset) {
  const Floats place = Load(span.w + i) * inverse + offset;
  return Round(Max(Min(place, Fill(span.high)), Fill(span.low)));
}

// The weighted squared error of the best codes at (s, m).
float ErrorAt(const Span& span, const Fit& fit) {
  const float inverse = InverseOf(fit.scale), offset = fit.min * inverse;
  Floats sum = {};
  for (int i = 0; i < span.count; i += kLanes) {
    const Floats q = CodesAt(span, i, inverse, offset);
    const Floats error = Load(span.w + i) - (q * fit.scale - fit.min);
    sum += Load(span.h + i) * error * error;
  }
  return Sum(sum);
}

struct Sums {
  float h = 0, w = 0, q = 0, qq = 0, wq = 0;  // of h times these
};

Sums SumsAt(const Span& span, float inverse, float offset) {
  Floats h_sum = {}, w_sum = {}, q_sum = {}, qq_sum = {}, wq_sum = {};
  for (int i = 0; i < span.count; i += kLanes) {
    const Floats q = CodesAt(span, i, inverse, offset);
    const Floats h = Load(span.h + i), w = Load(span.w + i);
    const Floats hq = h * q;
    h_sum += h;
    w_sum += h * w;
    q_sum += hq;
    qq_sum += hq * q;
    wq_sum += hq * w;
  }
  return {.h = Sum(h_sum), .w = Sum(w_sum), .q = Sum(q_sum), .qq = Sum(qq_sum), .wq = Sum(wq_sum)};
}

// ---- without a minimum ----

// Codes that stay what they are leave a gain of (sum h w q)^2 / sum h q^2 over all zeros.
struct SignedFit {
  float scale = 0, gain = 0;
};

SignedFit RefitSigned(const Span& span, float inverse) {
  Floats qq_sum = {}, wq_sum = {};
  for (int i = 0; i < span.count; i += kLanes) {
    const Floats q = CodesAt(span, i, inverse, 0.0F);
    const Floats hq = Load(span.h + i) * q;
    qq_sum += hq * q;
    wq_sum += hq * Load(span.w + i);
  }
  const float qq = Sum(qq_sum), wq = Sum(wq_sum);
  if (!(qq > 0)) return {};
  return {.scale = wq / qq, .gain = wq * wq / qq};
}

// The largest weight lies at `place` codes from zero, on either side, over a grid around the end of
// the range; then scale and codes in turn.
Fit FitSigned(const Span& span) {
  constexpr int kSteps = 24, kTurns = 4;
  const float largest = std::max(std::abs(LeastOf(span)), std::abs(GreatestOf(span)));
  if (!(largest > 0)) return {};
  const float end = -span.low;
  const float from = end - std::min(0.5F * end, 6.0F), to = end + std::min(0.2F * end, 1.0F);
  SignedFit best;
  for (int step = 0; step <= kSteps; ++step) {
    const float place = from + (to - from) * static_cast<float>(step) / kSteps;
    for (const float sign : {-1.0F, 1.0F}) {
      const SignedFit fit = RefitSigned(span, InverseOf(sign * largest / place));
      if (fit.gain > best.gain) best = fit;
    }
  }
  for (int turn = 0; turn < kTurns; ++turn) {
    const SignedFit fit = RefitSigned(span, InverseOf(best.scale));
    if (!(fit.gain > best.gain)) break;
    best = fit;
  }
  return {.scale = best.scale, .min = 0};
}

// ---- with a minimum ----

enum class MinSign { kAny, kPositive };

// s and m of the least error for the codes that `inverse` and `offset` give.
Fit RefitAffine(const Span& span, float inverse, float offset, MinSign sign) {
  const Sums sums = SumsAt(span, inverse, offset);
  const float determinant = sums.h * sums.qq - sums.q * sums.q;
  Fit fit;
  if (determinant > 1e-6F * sums.h * sums.qq) {
    fit.scale = (sums.h * sums.wq - sums.w * sums.q) / determinant;
    fit.min = (sums.q * sums.wq - sums.qq * sums.w) / determinant;
  } else {
    fit.scale = sums.qq > 0 ? sums.wq / sums.qq : 0;
  }
  if (sign == MinSign::kPositive && (fit.min < 0 || fit.scale < 0)) {
    fit.min = 0;
    fit.scale = sums.qq > 0 ? std::max(sums.wq / sums.qq, 0.0F) : 0;
  }
  return fit;
}

// The range of the weights lies over `high` plus or less a little codes, anchored below, in the
// middle or above; then scale, minimum and codes in turn.
Fit FitAffine(const Span& span, MinSign sign) {
  constexpr int kSteps = 12, kTurns = 5;
  float least = LeastOf(span), greatest = GreatestOf(span);
  if (sign == MinSign::kPositive) least = std::min(least, 0.0F);
  if (!(greatest > least)) return {.scale = 0, .min = -least};
  const float width = greatest - least, codes = span.high;
  const float from = codes - std::min(0.4F * codes, 2.0F),
              to = codes + std::min(0.4F * codes, 2.0F);
  Fit best = {.scale = width / codes, .min = -least};
  float best_error = ErrorAt(span, best);
  const auto consider = [&](const Fit& fit) {
    const float error = ErrorAt(span, fit);
    if (!(error < best_error)) return false;
    best = fit;
    best_error = error;
    return true;
  };
  for (int step = 0; step <= kSteps; ++step) {
    const float places = from + (to - from) * static_cast<float>(step) / kSteps;
    const float inverse = places / width;
    for (const float anchor : {0.0F, 0.5F, 1.0F}) {
      consider(RefitAffine(span, inverse, -least * inverse + anchor * (codes - places), sign));
    }
  }
  for (int turn = 0; turn < kTurns; ++turn) {
    const float inverse = InverseOf(best.scale);
    if (!consider(RefitAffine(span, inverse, best.min * inverse, sign))) break;
  }
  return best;
}

// ---- blocks ----

// A block while its parts are looked for.
struct Work {
  const BlockLayout& layout;
  const float* w;
  const float* h;
  Span Sub(int j) const {
    const int size = layout.size();
    return {w + j * size, h + j * size, size, static_cast<float>(layout.low),
            static_cast<float>(layout.high)};
  }
};

Fit FitOf(const BlockParts& parts, int j) {
  const auto at = static_cast<size_t>(j);
  return {.scale = parts.d * static_cast<float>(parts.scale[at]),
          .min = parts.dmin * static_cast<float>(parts.min[at])};
}

float ErrorOf(const Work& work, const BlockParts& parts) {
  float error = 0;
  for (int j = 0; j < work.layout.sub_blocks; ++j) error += ErrorAt(work.Sub(j), FitOf(parts, j));
  return error;
}

void FillCodes(const Work& work, BlockParts& parts) {
  for (int j = 0; j < work.layout.sub_blocks; ++j) {
    const Span span = work.Sub(j);
    const Fit fit = FitOf(parts, j);
    const float inverse = InverseOf(fit.scale), offset = fit.min * inverse;
    for (int i = 0; i < span.count; i += kLanes) {
      float lanes[kLanes];
      const Floats q = CodesAt(span, i, inverse, offset);
      std::memcpy(lanes, &q, sizeof(lanes));
      for (int lane = 0; lane < kLanes; ++lane) {
        parts.q[static_cast<size_t>(j * span.count + i + lane)] = static_cast<int16_t>(lanes[lane]);
      }
    }
  }
}

// d and dmin of the least error, given the integers and the codes that go with them.
Fit RefitBlock(const Work& work, const BlockParts& parts) {
  float ss = 0, sm = 0, mm = 0, ws = 0, wm = 0;
  for (int j = 0; j < work.layout.sub_blocks; ++j) {
    const Fit fit = FitOf(parts, j);
    const float inverse = InverseOf(fit.scale);
    const Sums sums = SumsAt(work.Sub(j), inverse, fit.min * inverse);
    const auto scale = static_cast<float>(parts.scale[static_cast<size_t>(j)]);
    const auto min = static_cast<float>(parts.min[static_cast<size_t>(j)]);
    ss += scale * scale * sums.qq;
    sm += scale * min * sums.q;
    mm += min * min * sums.h;
    ws += scale * sums.wq;
    wm += min * sums.w;
  }
  // w ~ d s q - dmin m.
  const float determinant = ss * mm - sm * sm;
  if (work.layout.has_min() && determinant > 1e-6F * ss * mm) {
    return {.scale = (ws * mm - wm * sm) / determinant, .min = (ws * sm - wm * ss) / determinant};
  }
  return {.scale = ss > 0 ? ws / ss : 0, .min = parts.dmin};
}

int16_t NearestWithin(float value, int low, int high) {
  const float bounded = std::clamp(value, static_cast<float>(low), static_cast<float>(high));
  return static_cast<int16_t>(std::lround(bounded));
}

// The integers of sub-block j: those next to `wish`, as a loader will see them.
void ChooseIntegers(const Work& work, const Fit& wish, int j, BlockParts& parts) {
  const BlockLayout& layout = work.layout;
  const Span span = work.Sub(j);
  const auto at = static_cast<size_t>(j);
  const int scale =
      NearestWithin(wish.scale * InverseOf(parts.d), layout.scale_low, layout.scale_high);
  const int min = NearestWithin(wish.min * InverseOf(parts.dmin), 0, layout.min_high);
  const int mins = layout.has_min() ? 1 : 0;
  float best = -1;
  for (int s = std::max(scale - 1, layout.scale_low); s <= std::min(scale + 1, layout.scale_high);
       ++s) {
    for (int m = std::max(min - mins, 0); m <= std::min(min + mins, layout.min_high); ++m) {
      const float error = ErrorAt(span, {.scale = parts.d * static_cast<float>(s),
                                         .min = parts.dmin * static_cast<float>(m)});
      if (best >= 0 && !(error < best)) continue;
      best = error;
      parts.scale[at] = static_cast<int16_t>(s);
      parts.min[at] = static_cast<int16_t>(m);
    }
  }
}

using Wishes = std::array<Fit, kMostSubBlocks>;

// What the range of a sub-block asks for.
Fit RangeOf(const BlockLayout& layout, const Span& span) {
  float least = LeastOf(span), greatest = GreatestOf(span);
  if (!layout.has_min()) {
    return {.scale = (std::abs(least) > greatest ? least : greatest) / span.low, .min = 0};
  }
  if (layout.nested()) {
    least = std::min(least, 0.0F);
    greatest = std::max(greatest, 0.0F);
  }
  return {.scale = (greatest - least) / span.high, .min = -least};
}

// From d and dmin: integers, then d and dmin again, `turns` times or until nothing gets better.
// The error that is left.
float Improve(const Work& work, const Wishes& wishes, int turns, BlockParts& parts) {
  const int count = work.layout.sub_blocks;
  for (int j = 0; j < count; ++j) ChooseIntegers(work, wishes[static_cast<size_t>(j)], j, parts);
  float best = ErrorOf(work, parts);
  for (int turn = 0; turn < turns; ++turn) {
    BlockParts next = parts;
    const Fit fit = RefitBlock(work, parts);
    next.d = RoundToHalf(fit.scale);
    next.dmin = RoundToHalf(std::max(fit.min, 0.0F));
    for (int j = 0; j < count; ++j) ChooseIntegers(work, FitOf(next, j), j, next);
    const float error = ErrorOf(work, next);
    if (!(error < best)) break;
    best = error;
    parts = next;
  }
  return best;
}

// d and dmin so that the largest scale lies at `place` of the last integer, the largest minimum at
// the last.
BlockParts StartAt(const BlockLayout& layout, const Wishes& wishes, float place) {
  float largest = 0, most = 0;
  for (int j = 0; j < layout.sub_blocks; ++j) {
    const Fit& fit = wishes[static_cast<size_t>(j)];
    if (std::abs(fit.scale) > std::abs(largest)) largest = fit.scale;
    most = std::max(most, fit.min);
  }
  const auto end = static_cast<float>(layout.scale_low < 0 ? layout.scale_low : layout.scale_high);
  BlockParts parts;
  parts.d = RoundToHalf(largest / (end * place));
  if (layout.has_min()) parts.dmin = RoundToHalf(most / static_cast<float>(layout.min_high));
  return parts;
}

// A block whose scales are integers: several d to begin with, each led to its best.
void ChooseNested(const Work& work, BlockSearch search, BlockParts& parts) {
  constexpr std::array<float, 5> kPlaces = {1.0F, 0.97F, 0.93F, 0.88F, 0.8F};
  constexpr int kTurns = 3;
  const BlockLayout& layout = work.layout;
  Wishes range, wishes;
  for (int j = 0; j < layout.sub_blocks; ++j) {
    range[static_cast<size_t>(j)] = RangeOf(layout, work.Sub(j));
  }
  parts = StartAt(layout, range, 1.0F);
  float best = Improve(work, range, 0, parts);
  if (search == BlockSearch::kRange) return;
  for (int j = 0; j < layout.sub_blocks; ++j) {
    const Span span = work.Sub(j);
    wishes[static_cast<size_t>(j)] =
        layout.has_min() ? FitAffine(span, MinSign::kPositive) : FitSigned(span);
  }
  for (const float place : kPlaces) {
    BlockParts tried = StartAt(layout, wishes, place);
    const float error = Improve(work, wishes, kTurns, tried);
    if (!(error < best)) continue;
    best = error;
    parts = tried;
  }
}

// A block with one scale of its own.
void ChoosePlain(const Work& work, BlockSearch search, BlockParts& parts) {
  const BlockLayout& layout = work.layout;
  const Span span = work.Sub(0);
  const auto rounded = [&](const Fit& fit) {
    BlockParts made;
    made.scale[0] = 1;
    made.min[0] = layout.has_min() ? 1 : 0;
    made.d = RoundToHalf(fit.scale);
    made.dmin = RoundToHalf(fit.min);
    return made;
  };
  parts = rounded(RangeOf(layout, span));
  if (search == BlockSearch::kRange) return;
  const BlockParts found =
      rounded(layout.has_min() ? FitAffine(span, MinSign::kAny) : FitSigned(span));
  if (ErrorOf(work, found) < ErrorOf(work, parts)) parts = found;
}

void Choose(const BlockLayout& layout, const float* weights, const float* importance,
            BlockSearch search, BlockParts& parts) {
  float ones[kMostWeights];
  if (importance == nullptr) {
    std::fill_n(ones, layout.weights, 1.0F);
    importance = ones;
  }
  const Work work = {layout, weights, importance};
  parts = {};
  if (layout.nested()) {
    ChooseNested(work, search, parts);
  } else {
    ChoosePlain(work, search, parts);
  }
  FillCodes(work, parts);
}

}  // namespace
}  // namespace quantd
