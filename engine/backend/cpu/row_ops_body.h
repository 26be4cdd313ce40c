// The body of row_ops_<isa>.cc: written once on vectors of sixteen floats, which the compiler
// lowers to what the instruction set has. Everything has internal linkage: code made for one
// instruction set must not be linked into another's file.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "engine/backend/cpu/row_ops.h"

#pragma GCC diagnostic ignored \
    "-Wpsabi"  // vectors as parameters of functions that are always inlined

#define QD_INLINE [[maybe_unused]] inline __attribute__((always_inline))

namespace quantd {
namespace {

constexpr int64_t kLanes = 16;
using Floats = float __attribute__((vector_size(64)));
using Ints = int32_t __attribute__((vector_size(64)));
using Words = uint32_t __attribute__((vector_size(64)));
using Shorts = uint16_t __attribute__((vector_size(32)));
using Bytes = int8_t __attribute__((vector_size(16)));
using Doubles = double __attribute__((vector_size(128)));

QD_INLINE Floats Fill(float value) { return Floats{} + value; }

template <typename Vector>
QD_INLINE Vector LoadAs(const void* from) {
  Vector vector;
  std::memcpy(&vector, from, sizeof(vector));
  return vector;
}
QD_INLINE Floats Load(const float* from) { return LoadAs<Floats>(from); }
// The first `count` < 16 values, then `rest`.
QD_INLINE Floats LoadSome(const float* from, int64_t count, float rest) {
  Floats vector = Fill(rest);
  std::memcpy(&vector, from, static_cast<size_t>(count) * sizeof(float));
  return vector;
}
template <typename Vector, typename T>
QD_INLINE void Store(Vector vector, T* to) {
  std::memcpy(to, &vector, sizeof(vector));
}
template <typename Vector, typename T>
QD_INLINE void StoreSome(Vector vector, T* to, int64_t count) {
  std::memcpy(to, &vector, static_cast<size_t>(count) * sizeof(T));
}

QD_INLINE Floats Max(Floats a, Floats b) { return a > b ? a : b; }
QD_INLINE Doubles Widen(Floats a) { return __builtin_convertvector(a, Doubles); }

// Folds the lanes in a fixed order.
template <typename T, typename Vector, typename Combine>
QD_INLINE T Fold(Vector vector, Combine combine) {
  T lanes[kLanes];
  std::memcpy(lanes, &vector, sizeof(lanes));
  for (int64_t width = kLanes / 2; width > 0; width /= 2) {
    for (int64_t i = 0; i < width; ++i) lanes[i] = combine(lanes[i], lanes[i + width]);
  }
  return lanes[0];
}
template <typename T, typename Vector>
QD_INLINE T FoldSum(Vector vector) {
  return Fold<T>(vector, [](T a, T b) { return a + b; });
}

// exp(x) = 2^n exp(r), n = round(x / ln 2), |r| <= ln 2 / 2. exp(r) = 1 + r + r^2 P(r) with P
// fitted for the least largest relative error (3e-9); ln 2 is split so that n times its upper part
// is exact.
QD_INLINE Floats Exp(Floats x) {
  constexpr float kLowest = -87.33F, kHighest = 88.37F;
  constexpr float kLog2E = 1.442695041F, kLn2High = 0.693359375F, kLn2Low = -2.12194440e-4F;
  constexpr float kRounder =
      12582912.0F;  // 1.5 * 2^23: adding it leaves the nearest integer in the low bits
  constexpr float kP0 = 0x1.fffffcp-2F, kP1 = 0x1.555492p-3F, kP2 = 0x1.5558f2p-5F;
  constexpr float kP3 = 0x1.1239d4p-7F, kP4 = 0x1.6a244ep-10F;
  Floats bounded = x < kLowest ? Fill(kLowest) : x;  // NaN stays
  bounded = bounded > kHighest ? Fill(kHighest) : bounded;
  const Floats shifted = bounded * kLog2E + kRounder;
  const Floats n = shifted - kRounder;
  const Floats r = (bounded - n * kLn2High) - n * kLn2Low;
  Floats p = r * kP4 + kP3;
  p = p * r + kP2;
  p = p * r + kP1;
  p = p * r + kP0;
  p = p * (r * r) + r + 1.0F;
  const Ints exponent = (LoadAs<Ints>(&shifted) + 127) << 23;  // the low bits of `shifted` are n
  const Floats result = p * LoadAs<Floats>(&exponent);
  return x < kLowest ? Floats{} : result;
}

// out[i] = f(a[i]) and out[i] = f(a[i], b[i]).
template <typename F>
QD_INLINE void Map(const float* a, int64_t count, float* out, F f) {
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) Store(f(Load(a + i)), out + i);
  if (i < count) StoreSome(f(LoadSome(a + i, count - i, 0)), out + i, count - i);
}
template <typename F>
QD_INLINE void Map2(const float* a, const float* b, int64_t count, float* out, F f) {
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) Store(f(Load(a + i), Load(b + i)), out + i);
  if (i < count) {
    const int64_t rest = count - i;
    StoreSome(f(LoadSome(a + i, rest, 0), LoadSome(b + i, rest, 0)), out + i, rest);
  }
}

float MaxOf(const float* x, int64_t count) {
  Floats max = Fill(-INFINITY);
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) max = Max(Load(x + i), max);
  if (i < count) max = Max(LoadSome(x + i, count - i, -INFINITY), max);
  return Fold<float>(max, [](float a, float b) { return a > b ? a : b; });
}

void RmsNorm(const float* x, const float* gain, int64_t width, float epsilon, float* y) {
  // Squares are summed in f64: activations of large models have outliers beyond 1e3.
  Doubles sums = {};
  int64_t i = 0;
  for (; i + kLanes <= width; i += kLanes) {
    const Doubles wide = Widen(Load(x + i));
    sums += wide * wide;
  }
  if (i < width) {
    const Doubles wide = Widen(LoadSome(x + i, width - i, 0));
    sums += wide * wide;
  }
  const double mean = FoldSum<double>(sums) / static_cast<double>(width);
  const auto factor = static_cast<float>(1.0 / std::sqrt(mean + static_cast<double>(epsilon)));
  Map2(x, gain, width, y, [factor](Floats a, Floats g) { return a * factor * g; });
}

void LayerNorm(const float* x, const float* gain, const float* bias, int64_t width, float epsilon,
               float* y) {
  Doubles sums = {}, squares = {};
  const auto add = [&](Floats values) {
    const Doubles wide = Widen(values);
    sums += wide;
    squares += wide * wide;
  };
  int64_t i = 0;
  for (; i + kLanes <= width; i += kLanes) add(Load(x + i));
  if (i < width) add(LoadSome(x + i, width - i, 0));
  const auto count = static_cast<double>(width);
  const double mean = FoldSum<double>(sums) / count;
  // In f64 the difference of squares loses nothing that f32 would show.
  const double spread = FoldSum<double>(squares) / count - mean * mean;
  const double variance = spread > 0 ? spread : 0;
  const auto shift = static_cast<float>(mean);
  const auto factor = static_cast<float>(1.0 / std::sqrt(variance + static_cast<double>(epsilon)));
  Map2(x, gain, width, y, [=](Floats a, Floats g) { return (a - shift) * factor * g; });
  if (bias != nullptr) Map2(y, bias, width, y, [](Floats a, Floats b) { return a + b; });
}

void Rope(float* x, int64_t half, const float* cos, const float* sin) {
  for (int64_t i = 0; i < half; i += kLanes) {
    const int64_t count = half - i < kLanes ? half - i : kLanes;
    const Floats a = count == kLanes ? Load(x + i) : LoadSome(x + i, count, 0);
    const Floats b = count == kLanes ? Load(x + half + i) : LoadSome(x + half + i, count, 0);
    const Floats c = count == kLanes ? Load(cos + i) : LoadSome(cos + i, count, 0);
    const Floats s = count == kLanes ? Load(sin + i) : LoadSome(sin + i, count, 0);
    StoreSome(a * c - b * s, x + i, count);
    StoreSome(b * c + a * s, x + half + i, count);
  }
}

// tanh(x) = (1 - e) / (1 + e), e = exp(-2 |x|), and its series where that would lose digits.
QD_INLINE Floats Tanh(Floats x) {
  constexpr float kNear = 0.3F;
  constexpr float k3 = -1.0F / 3, k5 = 2.0F / 15, k7 = -17.0F / 315, k9 = 62.0F / 2835;
  constexpr float k11 = -1382.0F / 155925;
  const Floats size = x < 0.0F ? -x : x;
  const Floats e = Exp(size * -2.0F);
  const Floats far = (1.0F - e) / (1.0F + e);
  const Floats z = x * x;
  const Floats near = x + x * z * (k3 + z * (k5 + z * (k7 + z * (k9 + z * k11))));
  return size < kNear ? near : (x < 0.0F ? -far : far);
}

// The normal distribution's Phi(x) = erfc(-x / sqrt(2)) / 2, with exp(z^2) erfc(z) = t P(t), t = 1
// / (1 + z / 2), z >= 0. P is fitted for the least largest relative error (5e-8).
QD_INLINE Floats NormalCdf(Floats x) {
  constexpr float kSqrtHalf = 0.707106781F;
  constexpr float kP[] = {0.28208643F, 0.28237531F,  0.24310371F, 0.20268708F, -0.02662620F,
                          0.27806798F, -0.48720065F, 0.28457534F, -0.05906904F};
  const Floats z = (x < 0.0F ? -x : x) * kSqrtHalf;
  const Floats t = 1.0F / (1.0F + z * 0.5F);
  Floats p = Fill(kP[8]);
  for (int i = 7; i >= 0; --i) p = p * t + kP[i];
  const Floats tail = p * t * Exp(-z * z) * 0.5F;
  return x < 0.0F ? tail : 1.0F - tail;
}

QD_INLINE Floats Silu(Floats x) { return x / (1.0F + Exp(-x)); }
QD_INLINE Floats Gelu(Floats x) { return x * NormalCdf(x); }
QD_INLINE Floats GeluTanh(Floats x) {
  constexpr float kTwiceSqrt2OverPi = 1.595769122F;
  return x / (1.0F + Exp((x + 0.044715F * x * x * x) * -kTwiceSqrt2OverPi));
}
QD_INLINE Floats Relu(Floats x) { return x < 0.0F ? Floats{} : x; }  // NaN stays

// Calls `run` with the function of that name.
template <typename Run>
QD_INLINE void WithActivation(Activation activation, Run run) {
  switch (activation) {
    case Activation::kSilu:
      return run([](Floats x) { return Silu(x); });
    case Activation::kGelu:
      return run([](Floats x) { return Gelu(x); });
    case Activation::kGeluTanh:
      return run([](Floats x) { return GeluTanh(x); });
    case Activation::kRelu:
      return run([](Floats x) { return Relu(x); });
  }
}

void Activate(Activation activation, float* x, int64_t count) {
  WithActivation(activation, [=](auto f) { Map(x, count, x, f); });
}

void ActivateMultiply(Activation activation, float* gate, const float* up, int64_t count) {
  WithActivation(activation, [=](auto f) {
    Map2(gate, up, count, gate, [f](Floats g, Floats u) { return f(g) * u; });
  });
}

void SoftCap(float* x, float cap, int64_t count) {
  Map(x, count, x, [cap](Floats a) { return Tanh(a / cap) * cap; });
}

void AddTimes(float* x, const float* y, float factor, int64_t count) {
  Map2(x, y, count, x, [factor](Floats a, Floats b) { return a + b * factor; });
}

void Add(float* x, const float* y, int64_t count) {
  Map2(x, y, count, x, [](Floats a, Floats b) { return a + b; });
}

void Scale(const float* x, float factor, int64_t count, float* y) {
  Map(x, count, y, [factor](Floats a) { return a * factor; });
}

QD_INLINE Shorts RoundToBf16(Floats x) {
  const Words bits = LoadAs<Words>(&x);
  return __builtin_convertvector((bits + 0x7fff + ((bits >> 16) & 1)) >> 16, Shorts);
}

void ToBf16(const float* x, int64_t count, uint16_t* y) {
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) Store(RoundToBf16(Load(x + i)), y + i);
  if (i < count) StoreSome(RoundToBf16(LoadSome(x + i, count - i, 0)), y + i, count - i);
}

void AddScaled(const int32_t* sums, float factor, const float* scales, int64_t count, float* y) {
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    const Floats wide = __builtin_convertvector(LoadAs<Ints>(sums + i), Floats);
    Store(Load(y + i) + wide * (factor * Load(scales + i)), y + i);
  }
  for (; i < count; ++i) y[i] += static_cast<float>(sums[i]) * (factor * scales[i]);
}

// Clamped first: the bounds are integers, so that changes no rounding, and what is left is small
// enough for the addition that rounds it.
QD_INLINE Bytes RoundToCodes(Floats x, float scale, float low, float high, int zero) {
  constexpr float kRounder = 12582912.0F;  // as in Exp
  Floats code = x / scale;
  code = code < low ? Fill(low) : code;
  code = code > high ? Fill(high) : code;
  code = (code + kRounder) - kRounder;
  return __builtin_convertvector(__builtin_convertvector(code, Ints) + zero, Bytes);
}

void ToCodes(const float* x, int64_t count, float scale, int zero, int8_t* codes) {
  const auto low = static_cast<float>(-128 - zero), high = static_cast<float>(127 - zero);
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    Store(RoundToCodes(Load(x + i), scale, low, high, zero), codes + i);
  }
  if (i < count) {
    StoreSome(RoundToCodes(LoadSome(x + i, count - i, 0), scale, low, high, zero), codes + i,
              count - i);
  }
}

float ExpMinusMax(float* x, int64_t count) {
  const float max = MaxOf(x, count);
  Floats sums = {};
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    const Floats e = Exp(Load(x + i) - max);
    Store(e, x + i);
    sums += e;
  }
  if (i < count) {
    const Floats e = Exp(LoadSome(x + i, count - i, -INFINITY) - max);
    StoreSome(e, x + i, count - i);
    sums += e;
  }
  return FoldSum<float>(sums);
}

RowSum SumExp(const float* x, int64_t count) {
  const float max = MaxOf(x, count);
  Doubles sums = {};
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) sums += Widen(Exp(Load(x + i) - max));
  if (i < count) sums += Widen(Exp(LoadSome(x + i, count - i, -INFINITY) - max));
  return {max, FoldSum<double>(sums)};
}

double WeightedDifference(const float* x, const float* y, float max_x, int64_t count) {
  Doubles sums = {};
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    const Floats a = Load(x + i);
    sums += Widen(Exp(a - max_x)) * Widen(a - Load(y + i));
  }
  if (i < count) {  // padded with equal values: their difference is 0
    const Floats a = LoadSome(x + i, count - i, max_x), b = LoadSome(y + i, count - i, max_x);
    sums += Widen(Exp(a - max_x)) * Widen(a - b);
  }
  return FoldSum<double>(sums);
}

void ExpRow(const float* x, int64_t count, float* y) {
  Map(x, count, y, [](Floats a) { return Exp(a); });
}

constexpr RowOps MakeRowOps(std::string_view isa) {
  return {.isa = isa,
          .rms_norm = RmsNorm,
          .layer_norm = LayerNorm,
          .rope = Rope,
          .activate = Activate,
          .activate_multiply = ActivateMultiply,
          .soft_cap = SoftCap,
          .add = Add,
          .add_times = AddTimes,
          .scale = Scale,
          .to_bf16 = ToBf16,
          .add_scaled = AddScaled,
          .to_codes = ToCodes,
          .exp_minus_max = ExpMinusMax,
          .sum_exp = SumExp,
          .weighted_difference = WeightedDifference,
          .exp = ExpRow};
}

}  // namespace
}  // namespace quantd
