// The reference: 16 lanes held in arrays, plain C++.

#include "engine/backend/cpu/quantize_lanes.h"

namespace quantd {
namespace {

struct ScalarLanes {
  static constexpr int kCount = rules::kLanes;
  static constexpr bool kFusesProducts = false;
  static constexpr int kTogether = 1;
  struct F {
    float lane[kCount];
  };

  template <typename T, typename Operation>
  static T Each(const T& a, const T& b, Operation operation) {
    T out;
    for (int j = 0; j < kCount; ++j) out.lane[j] = operation(a.lane[j], b.lane[j]);
    return out;
  }
  static F Set(float value) {
    F out;
    for (float& lane : out.lane) lane = value;
    return out;
  }
  static F Load(const float* from) {
    F out;
    for (int j = 0; j < kCount; ++j) out.lane[j] = from[j];
    return out;
  }
  static F LoadSome(const float* from, int64_t count) {
    F out = Set(0);
    for (int64_t j = 0; j < count; ++j) out.lane[j] = from[j];
    return out;
  }
  static F Add(const F& a, const F& b) {
    return Each(a, b, [](float x, float y) { return x + y; });
  }
  static F Sub(const F& a, const F& b) {
    return Each(a, b, [](float x, float y) { return x - y; });
  }
  static F Mul(const F& a, const F& b) {
    return Each(a, b, [](float x, float y) { return x * y; });
  }
  static F Div(const F& a, const F& b) {
    return Each(a, b, [](float x, float y) { return x / y; });
  }
  static F MulAdd(const F& a, const F& b, const F& c) {
    F out;
    for (int j = 0; j < kCount; ++j) out.lane[j] = __builtin_fmaf(a.lane[j], b.lane[j], c.lane[j]);
    return out;
  }
  static F MulSub(const F& a, const F& b, const F& c) {
    F out;
    for (int j = 0; j < kCount; ++j) out.lane[j] = __builtin_fmaf(a.lane[j], b.lane[j], -c.lane[j]);
    return out;
  }
  static F Min(const F& a, const F& b) {
    return Each(a, b, [](float x, float y) { return x < y ? x : y; });
  }
  static F Max(const F& a, const F& b) {
    return Each(a, b, [](float x, float y) { return x > y ? x : y; });
  }

  // lane j takes j + 8, then j + 4, j + 2, j + 1.
  template <typename T, typename Operation>
  static auto Fold(T value, Operation operation) {
    for (int width = kCount / 2; width > 0; width /= 2) {
      for (int j = 0; j < width; ++j) {
        value.lane[j] = operation(value.lane[j], value.lane[j + width]);
      }
    }
    return value.lane[0];
  }
  static void SumFour(const F* four, float* sums) {
    for (int k = 0; k < 4; ++k) {
      sums[k] = Fold(four[k], [](float x, float y) { return x + y; });
    }
  }
  static float MinF(const F& a) {
    return Fold(a, [](float x, float y) { return x < y ? x : y; });
  }
  static float MaxF(const F& a) {
    return Fold(a, [](float x, float y) { return x > y ? x : y; });
  }

  static void Store(const F& value, float* to, int64_t count) {
    const int64_t end = count < kCount ? count : kCount;
    for (int64_t j = 0; j < end; ++j) to[j] = value.lane[j];
  }
  static void StoreCodes(const F& value, int8_t* codes, int64_t count) {
    const int64_t end = count < kCount ? count : kCount;
    for (int64_t j = 0; j < end; ++j) codes[j] = static_cast<int8_t>(value.lane[j]);
  }

  static bool AllFinite(const float* values, int64_t count) {
    for (int64_t i = 0; i < count; ++i) {
      uint32_t bits = 0;
      __builtin_memcpy(&bits, values + i, sizeof(bits));
      if ((bits & 0x7f800000u) == 0x7f800000u) return false;
    }
    return true;
  }

  static void Pack4(const int8_t* codes, int64_t count, uint32_t* words) {
    for (int64_t begin = 0; begin < count; begin += 8) {
      uint32_t word = 0;
      for (int64_t j = 0; j < 8 && begin + j < count; ++j) {
        word |= (static_cast<uint32_t>(codes[begin + j] + 8) & 15u) << (4 * j);
      }
      words[begin / 8] = word;
    }
  }
};

}  // namespace

const QuantizeKernels& ScalarKernels() {
  static const QuantizeKernels kernels = MakeKernels<ScalarLanes>("scalar");
  return kernels;
}

}  // namespace quantd
