// The kernels that searches over scaled weights are made of, over the lanes of quantize_lanes.h.
#pragma once

#include <cstdint>

#include "engine/backend/rules.h"

namespace quantd {

template <typename V>
struct RoundingLanes {
  using F = typename V::F;
  static constexpr int64_t kLanes = rules::kLanes;

  static F LoadUpTo(const float* from, int64_t count) {
    return count >= kLanes ? V::Load(from) : V::LoadSome(from, count);
  }

  static void Multiply(const float* a, const float* b, int64_t count, float* to) {
    for (int64_t i = 0; i < count; i += kLanes) {
      V::Store(V::Mul(LoadUpTo(a + i, count - i), LoadUpTo(b + i, count - i)), to + i, count - i);
    }
  }

  static float RoundingError(const float* weights, const float* importance, int64_t count,
                             float scale, int8_t zero, int bits, float* errors) {
    constexpr float kNoFraction = 12582912.0f;  // 1.5 * 2^23
    const rules::Steps steps = rules::StepsOf(bits, zero);
    const F no_fraction = V::Set(kNoFraction), inverse = V::Set(1.0f / scale);
    const F low = V::Set(kNoFraction + steps.low), high = V::Set(kNoFraction + steps.high);
    const F wide = V::Set(scale), nothing = V::Set(0);
    F folds[4] = {nothing, nothing, nothing, nothing};
    for (int64_t i = 0; i < count; i += kLanes) {
      const F weight = LoadUpTo(weights + i, count - i);
      const F rounded = V::MulAdd(weight, inverse, no_fraction);
      const F step = V::Sub(V::Max(V::Min(rounded, high), low), no_fraction);
      const F error = V::MulSub(step, wide, weight);
      const F weighed =
          importance == nullptr ? error : V::Mul(LoadUpTo(importance + i, count - i), error);
      folds[0] = V::MulAdd(weighed, error, folds[0]);
      if (errors != nullptr) V::Store(error, errors + i, count - i);
    }
    float sums[4];
    V::SumFour(folds, sums);
    return sums[0];
  }
};

}  // namespace quantd
