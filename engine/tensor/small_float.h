// Floating types of 4 and 8 bits: rounding of f32 to them, codes and values. Host and device code
// compile this file, as they do backend/rules.h, which takes it in.
#pragma once

#include <cstdint>

#if defined(__CUDACC__)
#define QD_HOST_DEVICE __host__ __device__
#else
#define QD_HOST_DEVICE
#endif

namespace quantd::rules {

// A sign, an exponent and a mantissa, subnormals below 2^least_exponent, no infinities. A code is
// these bits, the sign first.
struct SmallFloat {
  int code_bits;
  int mantissa_bits;
  int least_exponent;  // of a normal number
  float largest;
};
inline constexpr SmallFloat kE2M1 = {4, 1, 0, 6.0f};     // OCP MX 1.0, FP4
inline constexpr SmallFloat kE4M3 = {8, 3, -6, 448.0f};  // OCP FP8, "e4m3fn"; 0x7f and 0xff are NaN

QD_HOST_DEVICE static inline uint32_t BitsOfFloat(float value) {
  uint32_t bits = 0;
  __builtin_memcpy(&bits, &value, sizeof(bits));
  return bits;
}
QD_HOST_DEVICE static inline float FloatOfBits(uint32_t bits) {
  float value = 0;
  __builtin_memcpy(&value, &bits, sizeof(value));
  return value;
}

// The nearest value of the type, ties to even, saturating; the sign is kept, of zero too. NaN gives
// the largest.
QD_HOST_DEVICE static inline float RoundToSmallFloat(SmallFloat type, float value) {
  constexpr float kNoFraction = 12582912.0f;  // 1.5 * 2^23
  const uint32_t bits = BitsOfFloat(value), sign = bits & 0x80000000u;
  float magnitude = FloatOfBits(bits ^ sign);
  magnitude = magnitude < type.largest ? magnitude : type.largest;
  const int exponent = static_cast<int>(BitsOfFloat(magnitude) >> 23) - 127;
  const int above = exponent > type.least_exponent ? exponent : type.least_exponent;
  const int step = above - type.mantissa_bits;  // values lie 2^step apart
  const float units = magnitude * FloatOfBits(static_cast<uint32_t>(127 - step) << 23);
  const float whole = (units + kNoFraction) - kNoFraction;
  const float rounded = whole * FloatOfBits(static_cast<uint32_t>(127 + step) << 23);
  return FloatOfBits(BitsOfFloat(rounded) | sign);
}

// The code of a value of the type.
QD_HOST_DEVICE static inline uint32_t SmallFloatCode(SmallFloat type, float value) {
  const uint32_t bits = BitsOfFloat(value), magnitude = bits & 0x7fffffffu;
  const uint32_t sign = bits >> 31 << (type.code_bits - 1);
  const int exponent = static_cast<int>(magnitude >> 23) - 127;
  if (exponent < type.least_exponent) {
    const int step = type.least_exponent - type.mantissa_bits;
    const float units =
        FloatOfBits(magnitude) * FloatOfBits(static_cast<uint32_t>(127 - step) << 23);
    return sign | static_cast<uint32_t>(units);
  }
  const uint32_t mantissa = (magnitude & 0x7fffffu) >> (23 - type.mantissa_bits);
  return sign | static_cast<uint32_t>(exponent - type.least_exponent + 1) << type.mantissa_bits |
         mantissa;
}

// The value of a code; that of E4M3's NaN is 480, which no rounding gives.
QD_HOST_DEVICE static inline float SmallFloatOf(SmallFloat type, uint32_t code) {
  const uint32_t sign_bit = 1u << (type.code_bits - 1), rest = code & (sign_bit - 1);
  const uint32_t mantissa = rest & ((1u << type.mantissa_bits) - 1);
  const int biased = static_cast<int>(rest >> type.mantissa_bits);
  const uint32_t one = biased > 0 ? 1u << type.mantissa_bits : 0;
  const int step = (biased > 0 ? biased - 1 : 0) + type.least_exponent - type.mantissa_bits;
  const float value =
      static_cast<float>(mantissa | one) * FloatOfBits(static_cast<uint32_t>(127 + step) << 23);
  return (code & sign_bit) != 0 ? -value : value;
}

// A power of two by its E8M0 code, 0..254; 2^-127 is subnormal in f32.
QD_HOST_DEVICE static inline float PowerOfTwo(int code) {
  return FloatOfBits(code == 0 ? 0x00400000u : static_cast<uint32_t>(code) << 23);
}
// The code of a power of two.
QD_HOST_DEVICE static inline int PowerCode(float power) {
  return static_cast<int>(BitsOfFloat(power) >> 23);
}
// The code of the power of two that is nearest to a positive scale by ratio.
QD_HOST_DEVICE static inline int NearestPower(float scale) {
  constexpr uint32_t kRootOfTwo = 0x3504f3u;  // the mantissa of sqrt(2)
  const uint32_t bits = BitsOfFloat(scale) & 0x7fffffffu;
  if (bits < 0x00800000u) return bits > 0x005a8279u ? 1 : 0;  // subnormal: sqrt(2) 2^-127
  const int code = static_cast<int>(bits >> 23) + ((bits & 0x7fffffu) > kRootOfTwo ? 1 : 0);
  return code > 254 ? 254 : code;
}
// The code of the scale of a group by its greatest magnitude, as compressed-tensors 0.20 has it
// (generate_mx_scales): the power of two below absmax, or above it from 1.75 times that power on,
// less the exponent of the largest value of the type.
QD_HOST_DEVICE static inline int PowerOfRange(SmallFloat type, float absmax) {
  const int raised = static_cast<int>((BitsOfFloat(absmax) + (1u << 21)) >> 23);
  const int code = raised - (static_cast<int>(BitsOfFloat(type.largest) >> 23) - 127);
  return code < 0 ? 0 : code;
}

}  // namespace quantd::rules
