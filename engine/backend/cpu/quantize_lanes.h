// The kernels of engine/backend/kernels.h, written once over a type `V` of 16 lanes. Each
// quantize_<isa>.cc supplies its own V (in an unnamed namespace, so that no code of one instruction
// set is ever linked into another) and instantiates MakeKernels. V has:
//   F, D                        16 lanes of f32, 16 lanes of f64
//   Set, Load, LoadSome         LoadSome reads `count` < 16 values and fills with zeros
//   Add Sub Mul Div Min Max     lane by lane; Min and Max give the second operand when equal
//   Widen                       F -> D; AddD SubD MulD
//   SumF, MaxF, MinF, SumD      folds, in the order of rules.h
//   StoreCodes                  integers in [-128, 127] held as F -> int8, at most `count` of them
//   AllFinite, Pack4            the kernels of those names
#pragma once

#include <cstdint>

#include "engine/backend/kernels.h"
#include "engine/backend/rules.h"

namespace quantd {

template <typename V>
struct LaneKernels {
  using F = typename V::F;
  using D = typename V::D;
  static constexpr int64_t kLanes = rules::kLanes;

  static F LoadUpTo(const float* from, int64_t count) {
    return count >= kLanes ? V::Load(from) : V::LoadSome(from, count);
  }

  static F Round(F value) {
    const F no_fraction = V::Set(12582912.0f);
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

  // rules::ErrorSums of one candidate scale.
  struct Measure {
    const float* weights;
    int64_t count;
    rules::ErrorSums operator()(float inverse_scale, rules::Steps steps) const {
      const F inverse = V::Set(inverse_scale), low = V::Set(steps.low), high = V::Set(steps.high);
      F error_error = V::Set(0), error_step = V::Set(0), step_step = V::Set(0);
      for (int64_t i = 0; i < count; i += kLanes) {
        const F t = V::Mul(LoadUpTo(weights + i, count - i), inverse);
        const F step = Round(V::Max(V::Min(t, high), low));
        const F error = V::Sub(t, step);
        error_error = V::Add(error_error, V::Mul(error, error));
        error_step = V::Add(error_step, V::Mul(error, step));
        step_step = V::Add(step_step, V::Mul(step, step));
      }
      return {V::SumF(error_error), V::SumF(error_step), V::SumF(step_step)};
    }
  };
  struct WeightedMeasure {
    const float* weights;
    const float* importance;
    int64_t count;
    rules::ErrorSums operator()(float inverse_scale, rules::Steps steps) const {
      const F inverse = V::Set(inverse_scale), low = V::Set(steps.low), high = V::Set(steps.high);
      F error_error = V::Set(0), error_step = V::Set(0), step_step = V::Set(0);
      for (int64_t i = 0; i < count; i += kLanes) {
        const F t = V::Mul(LoadUpTo(weights + i, count - i), inverse);
        const F h = LoadUpTo(importance + i, count - i);
        const F step = Round(V::Max(V::Min(t, high), low));
        const F error = V::Sub(t, step);
        const F weighted_error = V::Mul(h, error), weighted_step = V::Mul(h, step);
        error_error = V::Add(error_error, V::Mul(weighted_error, error));
        error_step = V::Add(error_step, V::Mul(weighted_error, step));
        step_step = V::Add(step_step, V::Mul(weighted_step, step));
      }
      return {V::SumF(error_error), V::SumF(error_step), V::SumF(step_step)};
    }
  };

  template <typename M>
  static rules::ScaleZero Search(const M& measure, Range range, const Scheme& scheme) {
    if (!scheme.symmetric) {
      return rules::SearchAsymmetric(measure, range.min, range.max, scheme.bits,
                                     scheme.scale_dtype);
    }
    const float absmax = rules::Larger(-range.min, range.max);
    return rules::SearchSymmetric(measure, absmax, scheme.bits, scheme.scale_dtype);
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
      chosen = Search(WeightedMeasure{weights, importance, count}, range, scheme);
    } else {
      chosen = Search(Measure{weights, count}, range, scheme);
    }
    *scale = chosen.scale;
    *zero = static_cast<int8_t>(chosen.zero);
  }

  static void Quantize(const float* weights, int64_t count, float scale, int8_t zero, int bits,
                       int8_t* codes, double* weight_energy, double* error_energy) {
    const rules::Steps steps = rules::StepsOf(bits, zero);
    const F divisor = V::Set(scale), low = V::Set(steps.low), high = V::Set(steps.high);
    const F shift = V::Set(static_cast<float>(zero));
    const D wide_scale = V::Widen(divisor);
    D weight_sum = V::Widen(V::Set(0)), error_sum = V::Widen(V::Set(0));
    for (int64_t i = 0; i < count; i += kLanes) {
      const F weight = LoadUpTo(weights + i, count - i);
      const F step = Round(V::Max(V::Min(V::Div(weight, divisor), high), low));
      V::StoreCodes(V::Add(step, shift), codes + i, count - i);
      const D wide = V::Widen(weight);
      const D error = V::SubD(wide, V::MulD(V::Widen(step), wide_scale));
      weight_sum = V::AddD(weight_sum, V::MulD(wide, wide));
      error_sum = V::AddD(error_sum, V::MulD(error, error));
    }
    *weight_energy += V::SumD(weight_sum);
    *error_energy += V::SumD(error_sum);
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
          .all_finite = &V::AllFinite,
          .pack4 = &V::Pack4,
          .quantize_token = &K::QuantizeToken};
}

// One per instruction set; called only where the machine has it.
const QuantizeKernels& ScalarKernels();
const QuantizeKernels& Avx2Kernels();
const QuantizeKernels& Avx512Kernels();

}  // namespace quantd
