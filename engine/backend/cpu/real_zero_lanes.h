// The kernels of engine/backend/real_zero_kernels.h, written once over a type of 16 lanes, as those
// of quantize_lanes.h, which says what `V` has.
#pragma once

#include <cstdint>

#include "engine/backend/real_zero_rules.h"

namespace quantd {

template <typename V>
struct RealZeroLanes {
  using F = typename V::F;
  static constexpr int64_t kLanes = rules::kLanes;
  static constexpr float kNoFraction = 12582912.0f;  // 1.5 * 2^23

  static F LoadUpTo(const float* from, int64_t count) {
    return count >= kLanes ? V::Load(from) : V::LoadSome(from, count);
  }
  static F Round(F value) {
    const F no_fraction = V::Set(kNoFraction);
    return V::Sub(V::Add(value, no_fraction), no_fraction);
  }
  static F Absolute(F value) { return V::Max(value, V::Sub(V::Set(0), value)); }

  // The last lanes of a group that does not fill them: read with the group's first weight in the
  // lanes without one, and counted as nothing.
  static F LoadTail(const float* from, int64_t count, float filler) {
    float lanes[kLanes];
    for (int64_t j = 0; j < kLanes; ++j) lanes[j] = j < count ? from[j] : filler;
    return V::Load(lanes);
  }

  struct Range {
    float min, max;
  };
  static Range RangeOf(const float* weights, int64_t count) {
    F low = V::Set(weights[0]), high = low;
    for (int64_t i = 0; i < count; i += kLanes) {
      const int64_t left = count - i;
      const F weight =
          left >= kLanes ? V::Load(weights + i) : LoadTail(weights + i, left, weights[0]);
      low = V::Min(weight, low);
      high = V::Max(weight, high);
    }
    return {V::MinF(low), V::MaxF(high)};
  }

  // How much each of 16 weights counts: their importance, or 1 each; nothing past the end.
  template <bool weighted>
  static F CountOf(const float* importance, int64_t i, int64_t count) {
    const int64_t left = count - i;
    if constexpr (weighted) {
      return LoadUpTo(importance + i, left);
    } else {
      if (left >= kLanes) return V::Set(1.0f);
      float ones[kLanes];
      for (int64_t j = 0; j < kLanes; ++j) ones[j] = 1.0f;
      return V::LoadSome(ones, left);
    }
  }

  static float SumOf(F value) {
    const F four[4] = {value, V::Set(0), V::Set(0), V::Set(0)};
    float sums[4];
    V::SumFour(four, sums);
    return sums[0];
  }

  // A group in the search of real_zero_rules.h.
  template <bool weighted>
  struct Measure {
    const float* weights;
    const float* importance;  // only where weighted
    int64_t count;
    const RealZeroCodes* codes;

    rules::GroupFrame Frame(float min, float max) const {
      const F origin = V::Set(min / 2 + max / 2);
      F sum = V::Set(0), weight_sum = V::Set(0);
      for (int64_t i = 0; i < count; i += kLanes) {
        const F h = CountOf<weighted>(importance, i, count);
        weight_sum = V::Add(weight_sum, h);
        sum = V::MulAdd(h, V::Sub(LoadUpTo(weights + i, count - i), origin), sum);
      }
      const float weight = SumOf(weight_sum);
      const float center = rules::Clamp(min / 2 + max / 2 + SumOf(sum) / weight, min, max);
      return {center, rules::AwayFromZero(rules::Larger(max - center, center - min)), weight};
    }

    rules::AffineSums Fit(const rules::GroupFrame& frame,
                          const rules::AffineCandidates& candidates) const {
      F folds[3][rules::kTogether];
      for (int at = 0; at < rules::kTogether; at += V::kTogether) {
        FitSome(frame, candidates.span + at, candidates.shift + at, folds[0] + at, folds[1] + at,
                folds[2] + at);
      }
      rules::AffineSums sums;
      V::SumFour(folds[0], sums.code);
      V::SumFour(folds[1], sums.code_code);
      V::SumFour(folds[2], sums.value_code);
      return sums;
    }

    // V::kTogether candidates: as many as the registers hold.
    void FitSome(const rules::GroupFrame& frame, const float* spans, const float* shifts, F* code,
                 F* code_code, F* value_code) const {
      constexpr int kCount = V::kTogether;
      const F no_fraction = V::Set(kNoFraction);
      const F low = V::Set(kNoFraction + static_cast<float>(codes->low));
      const F high = V::Set(kNoFraction + static_cast<float>(codes->high));
      const F center = V::Set(frame.center), inverse = V::Set(1.0f / frame.unit);
      F span[kCount], shift[kCount], origin[kCount], a[kCount], b[kCount], c[kCount];
#pragma GCC unroll 4
      for (int k = 0; k < kCount; ++k) {
        span[k] = V::Set(spans[k]);
        shift[k] = V::Set(shifts[k]);
        origin[k] = V::Set(kNoFraction + rules::RoundToInteger(shifts[k]));
        a[k] = b[k] = c[k] = V::Set(0);
      }
      for (int64_t i = 0; i < count; i += kLanes) {
        const F h = CountOf<weighted>(importance, i, count);
        const F value = V::Mul(V::Sub(LoadUpTo(weights + i, count - i), center), inverse);
#pragma GCC unroll 4
        for (int k = 0; k < kCount; ++k) {
          const F rounded = V::Add(V::MulAdd(value, span[k], shift[k]), no_fraction);
          const F step = V::Sub(V::Max(V::Min(rounded, high), low), origin[k]);
          const F weighted_step = V::Mul(h, step);
          a[k] = V::Add(a[k], weighted_step);
          b[k] = V::MulAdd(step, weighted_step, b[k]);
          c[k] = V::MulAdd(value, weighted_step, c[k]);
        }
      }
#pragma GCC unroll 4
      for (int k = 0; k < kCount; ++k) {
        code[k] = a[k];
        code_code[k] = b[k];
        value_code[k] = c[k];
      }
    }

    // Sums of h e^2, e in steps of the finalist's scale.
    void Errors(const rules::RealZeroFit* finalists, const RealZeroCodes& range,
                float* errors) const {
      const F low = V::Set(static_cast<float>(range.low));
      const F high = V::Set(static_cast<float>(range.high));
      F inverse[rules::kTogether], zero[rules::kTogether], sums[rules::kTogether];
      for (int k = 0; k < rules::kTogether; ++k) {
        inverse[k] = V::Set(1.0f / finalists[k].scale);
        zero[k] = V::Set(finalists[k].zero);
        sums[k] = V::Set(0);
      }
      for (int64_t i = 0; i < count; i += kLanes) {
        const F h = CountOf<weighted>(importance, i, count);
        const F weight = LoadUpTo(weights + i, count - i);
        for (int k = 0; k < rules::kTogether; ++k) {
          const F value = V::Mul(weight, inverse[k]);
          const F code = Round(V::Max(V::Min(V::Add(value, zero[k]), high), low));
          const F error = V::Sub(value, V::Sub(code, zero[k]));
          sums[k] = V::MulAdd(V::Mul(h, error), error, sums[k]);
        }
      }
      V::SumFour(sums, errors);
    }
  };

  static void Search(const float* weights, const float* importance, int64_t count,
                     const RealZeroCodes& codes, float* scale, float* zero) {
    const Range range = RangeOf(weights, count);
    rules::RealZeroFit chosen;
    if (importance != nullptr && Important(importance, count)) {
      chosen = rules::SearchRealZero(Measure<true>{weights, importance, count, &codes}, range.min,
                                     range.max, codes);
    } else {
      chosen = rules::SearchRealZero(Measure<false>{weights, nullptr, count, &codes}, range.min,
                                     range.max, codes);
    }
    *scale = chosen.scale;
    *zero = chosen.zero;
  }

  static bool Important(const float* importance, int64_t count) {
    F sum = V::Set(0);
    for (int64_t i = 0; i < count; i += kLanes) {
      sum = V::Max(LoadUpTo(importance + i, count - i), sum);
    }
    return V::MaxF(sum) > 0;
  }

  static float UpdateZero(const float* weights, const float* importance, int64_t count,
                          float inverse, int most, const ZeroUpdates& updates, float* zero,
                          double* errors) {
    if (importance != nullptr && Important(importance, count)) {
      return Alternate<true>(weights, importance, count, inverse, most, updates, zero, errors);
    }
    return Alternate<false>(weights, nullptr, count, inverse, most, updates, zero, errors);
  }

  template <bool weighted>
  static float Alternate(const float* weights, const float* importance, int64_t count,
                         float inverse, int most, const ZeroUpdates& updates, float* zero,
                         double* errors) {
    const F steps = V::Set(inverse), low = V::Set(0), high = V::Set(static_cast<float>(most));
    F largest = V::Set(0);
    float now = *zero, best = now, least = 0;
    for (int at = 0; at < updates.count; ++at) {
      const F shift = V::Set(now);
      // Of h, h (q - w / s), h |e|, h e^2.
      F folds[4] = {V::Set(0), V::Set(0), V::Set(0), V::Set(0)};
      for (int64_t i = 0; i < count; i += kLanes) {
        const F h = CountOf<weighted>(importance, i, count);
        const int64_t left = count - i;
        const F weight =
            left >= kLanes ? V::Load(weights + i) : LoadTail(weights + i, left, weights[0]);
        const F value = V::Mul(weight, steps);
        const F code = Round(V::Max(V::Min(V::Add(value, shift), high), low));
        const F difference = V::Sub(code, value);
        const F error = Absolute(V::Sub(difference, shift));
        folds[0] = V::Add(folds[0], h);
        folds[1] = V::MulAdd(h, difference, folds[1]);
        folds[2] = V::MulAdd(h, error, folds[2]);
        folds[3] = V::MulAdd(V::Mul(h, error), error, folds[3]);
        largest = V::Max(error, largest);
      }
      float sums[4];
      V::SumFour(folds, sums);
      if (errors != nullptr) errors[at] += static_cast<double>(sums[2]) / inverse;
      if (at == 0 || sums[3] < least) {
        least = sums[3];
        best = now;
      }
      now = sums[1] / sums[0];
    }
    *zero = updates.keep_best ? best : now;
    return V::MaxF(largest) / inverse;
  }

  // For groups whose weights are so many steps that their squares do not fit f32.
  static void AddWideEnergies(const float* weights, int64_t count, float scale, float zero,
                              const int8_t* codes, double* weight_energy, double* error_energy) {
    for (int64_t i = 0; i < count; ++i) {
      const double weight = static_cast<double>(weights[i]);
      const double step = static_cast<double>(codes[i]) - static_cast<double>(zero);
      const double error = weight - step * static_cast<double>(scale);
      *weight_energy += weight * weight;
      *error_energy += error * error;
    }
  }

  // The energies are summed in units of scale^2, in f32 within a group.
  static void Quantize(const float* weights, int64_t count, float scale, float zero,
                       const RealZeroCodes& codes, int8_t* to, double* weight_energy,
                       double* error_energy) {
    const F divisor = V::Set(scale), shift = V::Set(zero);
    const F low = V::Set(static_cast<float>(codes.low));
    const F high = V::Set(static_cast<float>(codes.high));
    F folds[4] = {V::Set(0), V::Set(0), V::Set(0), V::Set(0)};
    for (int64_t i = 0; i < count; i += kLanes) {
      const int64_t left = count - i;
      const F value = V::Div(LoadUpTo(weights + i, left), divisor);
      const F code = Round(V::Max(V::Min(V::Add(value, shift), high), low));
      V::StoreCodes(code, to + i, left);
      F error = V::Sub(value, V::Sub(code, shift));
      // The lanes past the end hold weight 0, which need not be a code.
      if (left < kLanes) error = V::Mul(error, CountOf<false>(nullptr, i, count));
      folds[0] = V::MulAdd(value, value, folds[0]);
      folds[1] = V::MulAdd(error, error, folds[1]);
    }
    float sums[4];
    V::SumFour(folds, sums);
    constexpr float kOverflowed = 3.0e38f;
    if (!(sums[0] < kOverflowed && sums[1] < kOverflowed)) {
      AddWideEnergies(weights, count, scale, zero, to, weight_energy, error_energy);
      return;
    }
    const double unit = static_cast<double>(scale) * static_cast<double>(scale);
    *weight_energy += unit * static_cast<double>(sums[0]);
    *error_energy += unit * static_cast<double>(sums[1]);
  }

  static RealZeroKernels Kernels() {
    return {.search = &Search, .update_zero = &UpdateZero, .quantize = &Quantize};
  }
};

}  // namespace quantd
