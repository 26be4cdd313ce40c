// The kernels of engine/backend/kernels.h, written once over a type `V` of 16 lanes. Each
// quantize_<isa>.cc supplies its own V (in an unnamed namespace, so that no code of one instruction
// set is ever linked into another) and instantiates MakeKernels. V has:
//   F                           16 lanes of f32
//   Set, Load, LoadSome         LoadSome reads `count` < 16 values and fills with zeros
//   Add Sub Mul Div Min Max     lane by lane; Min and Max give the second operand when equal
//   MulAdd MulSub               a * b + c and a * b - c, rounded once
//   MaxF, MinF                  folds, in the order of rules.h
//   SumFour                     four of F -> four sums, in that order
//   kFusesProducts              whether MulAdd and MulSub cost no more than Mul
//   kTogether                   how many candidates of a search its registers hold: 1, 2 or 4
//   Store                       F -> f32, at most `count` of them
//   StoreCodes                  integers in [-128, 127] held as F -> int8, at most `count` of them
//   AllFinite, Pack4            the kernels of those names
#pragma once

#include <cstdint>

#include "engine/backend/cpu/real_zero_lanes.h"
#include "engine/backend/cpu/rounding_lanes.h"
#include "engine/backend/kernels.h"
#include "engine/backend/rules.h"

namespace quantd {

template <typename V>
struct LaneKernels {
  using F = typename V::F;
  static constexpr int64_t kLanes = rules::kLanes;

  static F LoadUpTo(const float* from, int64_t count) {
    return count >= kLanes ? V::Load(from) : V::LoadSome(from, count);
  }

  static constexpr float kNoFraction = 12582912.0f;  // 1.5 * 2^23
  static F Round(F value) {
    const F no_fraction = V::Set(kNoFraction);
    return V::Sub(V::Add(value, no_fraction), no_fraction);
  }

  struct Range {
    float min, max;  // 0 included
  };
  static Range RangeOf(const float* weights, int64_t count) {
    F low = V::Set(0), high = V::Set(0);
    for (int64_t i = 0; i < count; i += kLanes) {
      const F weight = LoadUpTo(weights + i, count - i);
      low = V::Min(weight, low);
      high = V::Max(weight, high);
    }
    return {V::MinF(low), V::MaxF(high)};
  }

  // A group in the searches of rules.h.
  template <bool weighted>
  struct Measure {
    static constexpr bool kWeighted = weighted;
    const float* weights;
    const float* importance;  // only where weighted
    int64_t count;

    F WeightsFrom(int64_t i) const { return LoadUpTo(weights + i, count - i); }
    // h * step.
    F Weigh(int64_t i, F step) const {
      if constexpr (weighted) {
        return V::Mul(LoadUpTo(importance + i, count - i), step);
      } else {
        return step;
      }
    }

    rules::FitSums Fit(float inverse_unit, const rules::SpanCandidates& candidates) const {
      F value_step[rules::kTogether], step_step[rules::kTogether];
      for (int at = 0; at < rules::kTogether; at += V::kTogether) {
        FitSome(inverse_unit, candidates.span + at, candidates.steps + at, value_step + at,
                step_step + at);
      }
      rules::FitSums sums;
      V::SumFour(value_step, sums.value_step);
      V::SumFour(step_step, sums.step_step);
      return sums;
    }

    // V::kTogether candidates: as many as the registers hold.
    void FitSome(float inverse_unit, const float* spans, const rules::Steps* steps, F* value_step,
                 F* step_step) const {
      constexpr int kCount = V::kTogether;
      const F inverse = V::Set(inverse_unit), no_fraction = V::Set(kNoFraction);
      F span[kCount], low[kCount], high[kCount], values[kCount], squares[kCount];
#pragma GCC unroll 4
      for (int c = 0; c < kCount; ++c) {
        span[c] = V::Set(spans[c]);
        low[c] = V::Set(kNoFraction + steps[c].low);
        high[c] = V::Set(kNoFraction + steps[c].high);
        values[c] = squares[c] = V::Set(0);
      }
      for (int64_t i = 0; i < count; i += kLanes) {
        const F value = V::Mul(WeightsFrom(i), inverse);
#pragma GCC unroll 4
        for (int c = 0; c < kCount; ++c) {
          const F rounded = V::MulAdd(value, span[c], no_fraction);
          const F step = V::Sub(V::Max(V::Min(rounded, high[c]), low[c]), no_fraction);
          const F weighted_step = Weigh(i, step);
          values[c] = V::MulAdd(value, weighted_step, values[c]);
          squares[c] = V::MulAdd(step, weighted_step, squares[c]);
        }
      }
#pragma GCC unroll 4
      for (int c = 0; c < kCount; ++c) {
        value_step[c] = values[c];
        step_step[c] = squares[c];
      }
    }

    template <int candidates>
    void Exact(const float* inverses, const rules::Steps* steps, rules::ErrorSums* sums) const {
      const F no_fraction = V::Set(kNoFraction);
      F inverse[candidates], low[candidates], high[candidates];
      // Three sums and a zero for each: folded by fours.
      F folds[candidates][4];
#pragma GCC unroll 4
      for (int c = 0; c < candidates; ++c) {
        inverse[c] = V::Set(inverses[c]);
        low[c] = V::Set(kNoFraction + steps[c].low);
        high[c] = V::Set(kNoFraction + steps[c].high);
        folds[c][0] = folds[c][1] = folds[c][2] = folds[c][3] = V::Set(0);
      }
      for (int64_t i = 0; i < count; i += kLanes) {
        const F weight = WeightsFrom(i);
#pragma GCC unroll 4
        for (int c = 0; c < candidates; ++c) {
          const F rounded = V::MulAdd(weight, inverse[c], no_fraction);
          const F step = V::Sub(V::Max(V::Min(rounded, high[c]), low[c]), no_fraction);
          const F error = V::MulSub(weight, inverse[c], step);
          const F weighted_error = Weigh(i, error);
          folds[c][0] = V::MulAdd(weighted_error, error, folds[c][0]);
          folds[c][1] = V::MulAdd(weighted_error, step, folds[c][1]);
          folds[c][2] = V::MulAdd(Weigh(i, step), step, folds[c][2]);
        }
      }
#pragma GCC unroll 4
      for (int c = 0; c < candidates; ++c) {
        float folded[4];
        V::SumFour(folds[c], folded);
        sums[c] = {folded[0], folded[1], folded[2]};
      }
    }
  };

  template <typename M>
  static rules::ScaleZero Search(const M& measure, Range range, const Scheme& scheme) {
    if (!scheme.symmetric) {
      return rules::SearchAsymmetric(measure, range.min, range.max, scheme.bits,
                                     scheme.scale_dtype);
    }
    return rules::SearchSymmetric(measure, range.min, range.max, scheme.bits, scheme.scale_dtype);
  }

  static void ChooseScale(const float* weights, const float* importance, int64_t count,
                          const Scheme& scheme, float* scale, int8_t* zero) {
    const Range range = RangeOf(weights, count);
    rules::ScaleZero chosen;
    if (scheme.scale_rule == ScaleRule::kAbsmax) {
      chosen = scheme.symmetric
                   ? rules::AbsmaxSymmetric(rules::Larger(-range.min, range.max), scheme.bits,
                                            scheme.scale_dtype)
                   : rules::MinMaxAsymmetric(range.min, range.max, scheme.bits, scheme.scale_dtype);
    } else if (importance != nullptr) {
      chosen = Search(Measure<true>{weights, importance, count}, range, scheme);
    } else {
      chosen = Search(Measure<false>{weights, nullptr, count}, range, scheme);
    }
    *scale = chosen.scale;
    *zero = static_cast<int8_t>(chosen.zero);
  }

  // w / scale as division rounds it where it lies in [low - 1, high + 1]; elsewhere anything beyond
  // the same end. A division costs a machine ten
  // products: where products are fused, two rounds of residual correction of w * (1 / scale) give
  // the same bits (Markstein, IBM J. Res. Dev. 34(1), 1990), as long as no residual underflows.
  class Ratio {
   public:
    Ratio(float scale, rules::Steps steps)
        : scale_(V::Set(scale)),
          inverse_(V::Set(1.0f / scale)),
          low_(V::Set(steps.low - 1)),
          high_(V::Set(steps.high + 1)),
          safe_(rules::Magnitude(scale) > 0x1p-100f && rules::Magnitude(scale) < 0x1p100f) {}

    F operator()(F weight) const {
      if constexpr (V::kFusesProducts) {
        if (safe_) {
          const F first = Clamped(V::Mul(weight, inverse_));
          const F second = Clamped(Corrected(weight, first));
          return Corrected(weight, second);
        }
      }
      return V::Div(weight, scale_);
    }

   private:
    F Clamped(F value) const { return V::Max(V::Min(value, high_), low_); }
    F Corrected(F weight, F ratio) const {
      const F residual = V::Sub(V::Set(0), V::MulSub(ratio, scale_, weight));
      return V::MulAdd(residual, inverse_, ratio);
    }
    F scale_, inverse_, low_, high_;
    bool safe_;
  };

  // For groups whose weights are so many steps that their squares do not fit f32.
  static void AddWideEnergies(const float* weights, int64_t count, float scale, int8_t zero,
                              const int8_t* codes, double* weight_energy, double* error_energy) {
    for (int64_t i = 0; i < count; ++i) {
      const double weight = static_cast<double>(weights[i]);
      const double error =
          weight - static_cast<double>(codes[i] - zero) * static_cast<double>(scale);
      *weight_energy += weight * weight;
      *error_energy += error * error;
    }
  }

  // The energies are summed in units of scale^2, in f32 within a group. Clipped weights count in
  // the error with all that was cut off, so the sums take the weight itself and not its ratio where
  // that was clamped.
  static void Quantize(const float* weights, int64_t count, float scale, int8_t zero, int bits,
                       int8_t* codes, double* weight_energy, double* error_energy) {
    const rules::Steps steps = rules::StepsOf(bits, zero);
    const F low = V::Set(steps.low), high = V::Set(steps.high);
    const F shift = V::Set(static_cast<float>(zero)), inverse = V::Set(1.0f / scale);
    const Ratio ratio(scale, steps);
    F weight_sum = V::Set(0), error_sum = V::Set(0);
    for (int64_t i = 0; i < count; i += kLanes) {
      const F weight = LoadUpTo(weights + i, count - i);
      const F step = Round(V::Max(V::Min(ratio(weight), high), low));
      V::StoreCodes(V::Add(step, shift), codes + i, count - i);
      const F units = V::Mul(weight, inverse);
      const F error = V::Sub(units, step);
      weight_sum = V::Add(weight_sum, V::Mul(units, units));
      error_sum = V::Add(error_sum, V::Mul(error, error));
    }
    const double unit = static_cast<double>(scale) * static_cast<double>(scale);
    float sums[4];
    const F four[4] = {weight_sum, error_sum, V::Set(0), V::Set(0)};
    V::SumFour(four, sums);
    constexpr float kOverflowed = 3.0e38f;
    if (!(sums[0] < kOverflowed && sums[1] < kOverflowed)) {
      AddWideEnergies(weights, count, scale, zero, codes, weight_energy, error_energy);
      return;
    }
    *weight_energy += unit * static_cast<double>(sums[0]);
    *error_energy += unit * static_cast<double>(sums[1]);
  }

  static void QuantizeToken(const float* x, int64_t count, int8_t* codes, float* scale) {
    const Range range = RangeOf(x, count);
    const float absmax = rules::Larger(-range.min, range.max);
    const float chosen =
        absmax == 0 ? 1.0f : rules::Larger(absmax / 127.0f, rules::kSmallestNormal);
    const F divisor = V::Set(chosen), low = V::Set(-127.0f), high = V::Set(127.0f);
    for (int64_t i = 0; i < count; i += kLanes) {
      const F value = V::Div(LoadUpTo(x + i, count - i), divisor);
      V::StoreCodes(Round(V::Max(V::Min(value, high), low)), codes + i, count - i);
    }
    *scale = chosen;
  }
};

template <typename V>
QuantizeKernels MakeKernels(std::string_view isa) {
  using K = LaneKernels<V>;
  return {.isa = isa,
          .choose_scale = &K::ChooseScale,
          .quantize = &K::Quantize,
          .multiply = &RoundingLanes<V>::Multiply,
          .rounding_error = &RoundingLanes<V>::RoundingError,
          .all_finite = &V::AllFinite,
          .pack4 = &V::Pack4,
          .quantize_token = &K::QuantizeToken,
          .real_zero = RealZeroLanes<V>::Kernels()};
}

// One per instruction set; called only where the machine has it.
const QuantizeKernels& ScalarKernels();
const QuantizeKernels& Avx2Kernels();
const QuantizeKernels& Avx512Kernels();

}  // namespace quantd
