#include "engine/tensor/float_conversion.h"

#include <bit>
#include <cstring>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace quantd {
namespace {

uint16_t LoadHalf(const void* half, int64_t index) {
  uint16_t bits = 0;
  std::memcpy(&bits, static_cast<const char*>(half) + 2 * index, 2);
  return bits;
}

void StoreHalf(void* half, int64_t index, uint16_t bits) {
  std::memcpy(static_cast<char*>(half) + 2 * index, &bits, 2);
}

// --- One element -------------------------------------------------------------------------------

float F16ToF32(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000u) << 16;
  const uint32_t exponent = (half >> 10) & 0x1Fu;
  uint32_t fraction = half & 0x3FFu;
  if (exponent == 0x1F) {  // infinity, or NaN made quiet as the hardware does
    if (fraction != 0) fraction |= 0x200u;
    return std::bit_cast<float>(sign | 0x7F800000u | (fraction << 13));
  }
  if (exponent == 0) {  // zero or a denormal: fraction * 2^-24, exact in f32
    const float magnitude = static_cast<float>(fraction) * 0x1p-24f;
    return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(magnitude));
  }
  return std::bit_cast<float>(sign | ((exponent + 112) << 23) | (fraction << 13));
}

// value >> shift, rounded to nearest, ties to even; 1 <= shift <= 31.
uint32_t ShiftRounding(uint32_t value, uint32_t shift) {
  const uint32_t half = 1u << (shift - 1);
  const uint32_t odd = (value >> shift) & 1u;
  return (value + half - 1 + odd) >> shift;
}

uint16_t F32ToF16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint32_t sign = (bits >> 16) & 0x8000u;
  const uint32_t magnitude = bits & 0x7FFFFFFFu;
  uint32_t half = 0;
  if (magnitude > 0x7F800000u) {  // NaN: quiet, upper bits of the payload kept
    half = 0x7E00u | ((magnitude >> 13) & 0x3FFu);
  } else if (magnitude >= 0x477FF000u) {  // 65520 and above round to infinity
    half = 0x7C00u;
  } else if (magnitude >= 0x38800000u) {  // normal; a carry runs into the exponent as it should
    half = ShiftRounding(magnitude - (112u << 23), 13);
  } else if (magnitude >= 0x33000000u) {  // denormal in f16: 2^-25 and above
    const uint32_t exponent = magnitude >> 23;
    half = ShiftRounding((magnitude & 0x7FFFFFu) | 0x800000u, 126 - exponent);
  }
  return static_cast<uint16_t>(sign | half);
}

uint16_t F32ToBF16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7FFFFFFFu) > 0x7F800000u) return static_cast<uint16_t>((bits >> 16) | 0x40u);
  return static_cast<uint16_t>((bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16);
}

// --- Any machine -------------------------------------------------------------------------------

void WidenF16Scalar(const void* half, int64_t count, float* to) {
  for (int64_t i = 0; i < count; ++i) to[i] = F16ToF32(LoadHalf(half, i));
}

void WidenBF16Scalar(const void* half, int64_t count, float* to) {
  for (int64_t i = 0; i < count; ++i) {
    to[i] = std::bit_cast<float>(static_cast<uint32_t>(LoadHalf(half, i)) << 16);
  }
}

void NarrowF16Scalar(const float* from, int64_t count, void* half) {
  for (int64_t i = 0; i < count; ++i) StoreHalf(half, i, F32ToF16(from[i]));
}

void NarrowBF16Scalar(const float* from, int64_t count, void* half) {
  for (int64_t i = 0; i < count; ++i) StoreHalf(half, i, F32ToBF16(from[i]));
}

#if defined(__x86_64__)

const char* At(const void* half, int64_t index) {
  return static_cast<const char*>(half) + 2 * index;
}
char* At(void* half, int64_t index) { return static_cast<char*>(half) + 2 * index; }

// --- AVX2 and F16C: eight at a time, the tail as on any machine --------------------------------

#define QD_AVX2 __attribute__((target("avx2,f16c")))

QD_AVX2 void WidenF16Avx2(const void* half, int64_t count, float* to) {
  int64_t i = 0;
  for (; i + 8 <= count; i += 8) {
    const __m128i in = _mm_loadu_si128(reinterpret_cast<const __m128i*>(At(half, i)));
    _mm256_storeu_ps(to + i, _mm256_cvtph_ps(in));
  }
  WidenF16Scalar(At(half, i), count - i, to + i);
}

QD_AVX2 void WidenBF16Avx2(const void* half, int64_t count, float* to) {
  int64_t i = 0;
  for (; i + 8 <= count; i += 8) {
    const __m128i in = _mm_loadu_si128(reinterpret_cast<const __m128i*>(At(half, i)));
    const __m256i wide = _mm256_slli_epi32(_mm256_cvtepu16_epi32(in), 16);
    _mm256_storeu_ps(to + i, _mm256_castsi256_ps(wide));
  }
  WidenBF16Scalar(At(half, i), count - i, to + i);
}

QD_AVX2 void NarrowF16Avx2(const float* from, int64_t count, void* half) {
  int64_t i = 0;
  for (; i + 8 <= count; i += 8) {
    const __m128i out =
        _mm256_cvtps_ph(_mm256_loadu_ps(from + i), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(At(half, i)), out);
  }
  NarrowF16Scalar(from + i, count - i, At(half, i));
}

QD_AVX2 void NarrowBF16Avx2(const float* from, int64_t count, void* half) {
  int64_t i = 0;
  for (; i + 8 <= count; i += 8) {
    const __m256 value = _mm256_loadu_ps(from + i);
    const __m256i bits = _mm256_castps_si256(value);
    const __m256i upper = _mm256_srli_epi32(bits, 16);
    const __m256i odd = _mm256_and_si256(upper, _mm256_set1_epi32(1));
    const __m256i bias = _mm256_add_epi32(odd, _mm256_set1_epi32(0x7FFF));
    const __m256i rounded = _mm256_srli_epi32(_mm256_add_epi32(bits, bias), 16);
    const __m256i quiet = _mm256_or_si256(upper, _mm256_set1_epi32(0x40));
    const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(value, value, _CMP_UNORD_Q));
    const __m256i out = _mm256_blendv_epi8(rounded, quiet, nan);
    const __m128i packed =
        _mm_packus_epi32(_mm256_castsi256_si128(out), _mm256_extracti128_si256(out, 1));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(At(half, i)), packed);
  }
  NarrowBF16Scalar(from + i, count - i, At(half, i));
}

// --- AVX-512: sixteen at a time ----------------------------------------------------------------

#define QD_AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx2,f16c")))

QD_AVX512 void WidenF16Avx512(const void* half, int64_t count, float* to) {
  int64_t i = 0;
  for (; i + 16 <= count; i += 16) {
    const __m256i in = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(At(half, i)));
    _mm512_storeu_ps(to + i, _mm512_maskz_cvtph_ps(0xFFFF, in));
  }
  WidenF16Scalar(At(half, i), count - i, to + i);
}

QD_AVX512 void WidenBF16Avx512(const void* half, int64_t count, float* to) {
  int64_t i = 0;
  for (; i + 16 <= count; i += 16) {
    const __m256i in = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(At(half, i)));
    const __m512i wide =
        _mm512_maskz_slli_epi32(0xFFFF, _mm512_maskz_cvtepu16_epi32(0xFFFF, in), 16);
    _mm512_storeu_ps(to + i, _mm512_castsi512_ps(wide));
  }
  WidenBF16Scalar(At(half, i), count - i, to + i);
}

QD_AVX512 void NarrowF16Avx512(const float* from, int64_t count, void* half) {
  int64_t i = 0;
  for (; i + 16 <= count; i += 16) {
    const __m256i out = _mm512_maskz_cvtps_ph(0xFFFF, _mm512_loadu_ps(from + i),
                                              _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(At(half, i)), out);
  }
  NarrowF16Scalar(from + i, count - i, At(half, i));
}

// Integer arithmetic and not VCVTNEPS2BF16, which flushes denormals to zero.
QD_AVX512 void NarrowBF16Avx512(const float* from, int64_t count, void* half) {
  const __m512i one = _mm512_set1_epi32(1);
  int64_t i = 0;
  for (; i + 16 <= count; i += 16) {
    const __m512 value = _mm512_loadu_ps(from + i);
    const __m512i bits = _mm512_castps_si512(value);
    const __m512i upper = _mm512_maskz_srli_epi32(0xFFFF, bits, 16);
    const __m512i bias = _mm512_add_epi32(_mm512_and_si512(upper, one), _mm512_set1_epi32(0x7FFF));
    const __m512i rounded = _mm512_maskz_srli_epi32(0xFFFF, _mm512_add_epi32(bits, bias), 16);
    const __mmask16 nan = _mm512_cmp_ps_mask(value, value, _CMP_UNORD_Q);
    const __m512i out = _mm512_mask_or_epi32(rounded, nan, upper, _mm512_set1_epi32(0x40));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(At(half, i)),
                        _mm512_maskz_cvtepi32_epi16(0xFFFF, out));
  }
  NarrowBF16Scalar(from + i, count - i, At(half, i));
}

#endif  // defined(__x86_64__)

std::vector<FloatConversion> FindConversions() {
  std::vector<FloatConversion> found = {
      {"scalar", WidenF16Scalar, WidenBF16Scalar, NarrowF16Scalar, NarrowBF16Scalar}};
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("f16c")) {
    found.push_back({"avx2", WidenF16Avx2, WidenBF16Avx2, NarrowF16Avx2, NarrowBF16Avx2});
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl")) {
      found.push_back(
          {"avx512", WidenF16Avx512, WidenBF16Avx512, NarrowF16Avx512, NarrowBF16Avx512});
    }
  }
#endif
  return found;
}

}  // namespace

std::span<const FloatConversion> FloatConversions() {
  static const std::vector<FloatConversion> conversions = FindConversions();
  return conversions;
}

}  // namespace quantd
