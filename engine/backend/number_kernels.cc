#include "engine/backend/number_kernels.h"

#include <algorithm>
#include <cmath>

namespace quantd {
namespace {

using rules::RoundToSmallFloat;

float AbsmaxOf(const float* values, int64_t count) {
  float absmax = 0;
  for (int64_t i = 0; i < count; ++i) {
    absmax = rules::Larger(absmax, rules::Magnitude(values[i]));
  }
  return absmax;
}

struct Fit {
  double error = 0;        // sum of h (w - step scale)^2
  double along = 0;        // sum of h w step
  double step_square = 0;  // sum of h step^2
};

Fit FitOf(const float* weights, const float* importance, int64_t count, float scale,
          rules::SmallFloat type) {
  Fit fit;
  for (int64_t i = 0; i < count; ++i) {
    const float step = RoundToSmallFloat(type, weights[i] / scale);
    const double h = importance == nullptr ? 1.0 : static_cast<double>(importance[i]);
    const double wide = weights[i], level = step;
    const double error = wide - level * static_cast<double>(scale);
    fit.error += h * error * error;
    fit.along += h * wide * level;
    fit.step_square += h * level * level;
  }
  return fit;
}

// The search of kMse and kWeightedMse: the scale by range first, then others around it, the first
// seen winning ties; the best is refitted by least squares. Never worse than the range.
class LevelSearch {
 public:
  LevelSearch(const float* weights, const float* importance, int64_t count, const Scheme& scheme)
      : weights_(weights),
        importance_(importance),
        count_(count),
        scheme_(scheme),
        type_(TypeOf(*scheme.number)) {}

  float Best(float absmax) {
    best_ = ScaleOfRange(absmax, scheme_);
    fit_ = FitOf(weights_, importance_, count_, best_, type_);
    if (absmax == 0) return best_;
    const float range = absmax / type_.largest;
    if (scheme_.number->scale == ScaleKind::kE8M0) {
      for (const float multiple : {0.25f, 0.5f, 1.0f, 2.0f, 4.0f}) Try(range * multiple);
      return best_;
    }
    // From a little wider than the range to where the largest weight is the next smaller level; a
    // floating grid is as fine below as above, so its widest steps decide.
    for (int i = -4; i <= 12; ++i) {
      Try(range * (1.0f + 0.0625f * static_cast<float>(i)));
    }
    for (int round = 0; round < 2 && fit_.step_square > 0; ++round) {
      Try(static_cast<float>(fit_.along / fit_.step_square));
    }
    return best_;
  }

 private:
  void Try(float wanted) {
    if (!(wanted > rules::kSmallestNormal)) return;
    const float scale = StoredScale(wanted, scheme_);
    if (scale == best_) return;
    const Fit fit = FitOf(weights_, importance_, count_, scale, type_);
    if (!(fit.error < fit_.error)) return;
    fit_ = fit;
    best_ = scale;
  }

  const float* weights_;
  const float* importance_;
  int64_t count_;
  const Scheme& scheme_;
  rules::SmallFloat type_;
  float best_ = 1;
  Fit fit_;
};

// scale / tensor_scale of the E4M3 nearest to scale * tensor_scale; the least above 0 if that
// is none.
float SecondLevel(float scaled, float tensor_scale) {
  constexpr float kForNothing = 0.125f;  // compressed-tensors' epsilon of the type
  const float stored = RoundToSmallFloat(rules::kE4M3, scaled);
  return (stored == 0 ? kForNothing : stored) / tensor_scale;
}

}  // namespace

rules::SmallFloat TypeOf(const NumberFormat& format) {
  return format.element == Element::kE2M1 ? rules::kE2M1 : rules::kE4M3;
}

float StoredScale(float scale, const Scheme& scheme) {
  if (!scheme.floating()) return rules::RoundScale(scale, scheme.scale_dtype);
  const float magnitude = rules::Magnitude(scale);
  switch (scheme.number->scale) {
    case ScaleKind::kFloat:
      return rules::RoundScale(magnitude, scheme.scale_dtype);
    case ScaleKind::kE8M0:
      return rules::PowerOfTwo(rules::NearestPower(magnitude));
    case ScaleKind::kE4M3:
      break;
  }
  if (scheme.tensor_scale == 0) return magnitude;
  constexpr float kLeast = 0.001953125f;  // 2^-9, of E4M3
  return SecondLevel(rules::Larger(magnitude * scheme.tensor_scale, kLeast), scheme.tensor_scale);
}

float ScaleOfRange(float absmax, const Scheme& scheme) {
  const rules::SmallFloat type = TypeOf(*scheme.number);
  switch (scheme.number->scale) {
    case ScaleKind::kFloat:
      return absmax == 0 ? 1.0f : rules::RoundScale(absmax / type.largest, scheme.scale_dtype);
    case ScaleKind::kE8M0:
      return rules::PowerOfTwo(rules::PowerOfRange(type, absmax));
    case ScaleKind::kE4M3:
      break;
  }
  if (scheme.tensor_scale == 0) return absmax == 0 ? 1.0f : absmax / type.largest;
  return SecondLevel(scheme.tensor_scale * (absmax / type.largest), scheme.tensor_scale);
}

float TensorScaleOf(float absmax) {
  const float scale =
      rules::kE4M3.largest * rules::kE2M1.largest / rules::Larger(absmax, rules::kSmallestNormal);
  return std::isfinite(scale) ? scale : 1.0f;
}

void ChooseScale(const QuantizeKernels& kernels, const float* weights, const float* importance,
                 int64_t count, const Scheme& scheme, float* scale, int8_t* zero) {
  if (!scheme.floating()) {
    kernels.choose_scale(weights, importance, count, scheme, scale, zero);
    return;
  }
  *zero = 0;
  const float absmax = AbsmaxOf(weights, count);
  *scale = scheme.scale_rule == ScaleRule::kAbsmax
               ? ScaleOfRange(absmax, scheme)
               : LevelSearch(weights, importance, count, scheme).Best(absmax);
}

void QuantizeGroup(const QuantizeKernels& kernels, const float* weights, int64_t count, float scale,
                   int8_t zero, const Scheme& scheme, int8_t* codes, double* weight_energy,
                   double* error_energy) {
  if (!scheme.floating()) {
    kernels.quantize(weights, count, scale, zero, scheme.bits, codes, weight_energy, error_energy);
    return;
  }
  const rules::SmallFloat type = TypeOf(*scheme.number);
  for (int64_t i = 0; i < count; ++i) {
    const float step = RoundToSmallFloat(type, weights[i] / scale);
    codes[i] = static_cast<int8_t>(rules::SmallFloatCode(type, step));
    const double wide = weights[i];
    const double error = wide - static_cast<double>(step) * static_cast<double>(scale);
    *weight_energy += wide * wide;
    *error_energy += error * error;
  }
}

float RoundingError(const QuantizeKernels& kernels, const float* weights, const float* importance,
                    int64_t count, float scale, int8_t zero, const Scheme& scheme, float* errors) {
  if (!scheme.floating()) {
    return kernels.rounding_error(weights, importance, count, scale, zero, scheme.bits, errors);
  }
  const rules::SmallFloat type = TypeOf(*scheme.number);
  float sum = 0;
  for (int64_t i = 0; i < count; ++i) {
    const float error = RoundToSmallFloat(type, weights[i] / scale) * scale - weights[i];
    sum += (importance == nullptr ? error : importance[i] * error) * error;
    if (errors != nullptr) errors[i] = error;
  }
  return sum;
}

void RoundToLevels(const float* weights, const float* scales, int64_t count, const Scheme& scheme,
                   float* to) {
  const rules::SmallFloat type = TypeOf(*scheme.number);
  for (int64_t i = 0; i < count; ++i) to[i] = RoundToSmallFloat(type, weights[i] / scales[i]);
}

void RoundInputs(const float* x, int64_t count, const Scheme& scheme, const StaticInput* input,
                 float* to) {
  const rules::SmallFloat type = TypeOf(*scheme.number);
  Scheme inputs = scheme;  // scales that are found at run time stay in f32
  inputs.scale_dtype = DType::kF32;
  inputs.tensor_scale = input == nullptr ? 0 : input->scale;
  const bool one = input != nullptr && scheme.number->scale == ScaleKind::kFloat;
  const int64_t size = scheme.number->group_size > 0 ? scheme.number->group_size : count;
  for (int64_t begin = 0; begin < count; begin += size) {
    const int64_t end = std::min(count, begin + size);
    const float scale = one ? input->scale : ScaleOfRange(AbsmaxOf(x + begin, end - begin), inputs);
    for (int64_t i = begin; i < end; ++i) to[i] = RoundToSmallFloat(type, x[i] / scale) * scale;
  }
}

}  // namespace quantd
