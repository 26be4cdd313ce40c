// 16 lanes as one register of f32 and two of eight f64. Compiled with -mavx512{f,bw,vl,dq}; runs
// only where the machine has them.

#if defined(__x86_64__)
// GCC 12 takes its own "undefined" registers inside the intrinsics for mistakes (its bug 105593).
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>

#include "engine/backend/cpu/quantize_lanes.h"

namespace quantd {
namespace {

struct Avx512Lanes {
  static constexpr bool kFusesProducts = true;
  static constexpr int kTogether = 4;
  using F = __m512;

  static __mmask16 First(int64_t count) {
    return count >= 16 ? static_cast<__mmask16>(0xffff)
                       : static_cast<__mmask16>((1u << static_cast<unsigned>(count)) - 1u);
  }
  static F Set(float value) { return _mm512_set1_ps(value); }
  static F Load(const float* from) { return _mm512_loadu_ps(from); }
  static F LoadSome(const float* from, int64_t count) {
    return _mm512_maskz_loadu_ps(First(count), from);
  }
  static F Add(F a, F b) { return _mm512_add_ps(a, b); }
  static F Sub(F a, F b) { return _mm512_sub_ps(a, b); }
  static F Mul(F a, F b) { return _mm512_mul_ps(a, b); }
  static F Div(F a, F b) { return _mm512_div_ps(a, b); }
  static F MulAdd(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
  static F MulSub(F a, F b, F c) { return _mm512_fmsub_ps(a, b, c); }
  static F Min(F a, F b) { return _mm512_min_ps(a, b); }
  static F Max(F a, F b) { return _mm512_max_ps(a, b); }

  static __m256 LowerHalf(F a) { return _mm512_castps512_ps256(a); }
  static __m256 UpperHalf(F a) { return _mm512_extractf32x8_ps(a, 1); }
  // Two sums to a register, then four, one to a quarter: their parts meet on the way.
  static F FoldTwo(F a, F b) {
    return _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xee));
  }
  static void SumFour(const F* four, float* sums) {
    const F ab = FoldTwo(four[0], four[1]), cd = FoldTwo(four[2], four[3]);
    const F quarters =
        _mm512_add_ps(_mm512_shuffle_f32x4(ab, cd, 0x88), _mm512_shuffle_f32x4(ab, cd, 0xdd));
    const F two = _mm512_add_ps(quarters, _mm512_permute_ps(quarters, 0x4e));
    const F one = _mm512_add_ps(two, _mm512_permute_ps(two, 0xb1));
    _mm_storeu_ps(sums, _mm512_castps512_ps128(_mm512_maskz_compress_ps(0x1111, one)));
  }
  static float MinF(F a) {
    const __m256 eight = _mm256_min_ps(LowerHalf(a), UpperHalf(a));
    const __m128 four = _mm_min_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    const __m128 two = _mm_min_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_min_ss(two, _mm_shuffle_ps(two, two, 1)));
  }
  static float MaxF(F a) {
    const __m256 eight = _mm256_max_ps(LowerHalf(a), UpperHalf(a));
    const __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_shuffle_ps(two, two, 1)));
  }

  static void Store(F value, float* to, int64_t count) {
    _mm512_mask_storeu_ps(to, First(count), value);
  }
  static void StoreCodes(F value, int8_t* codes, int64_t count) {
    const __m128i bytes = _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(value));
    _mm_mask_storeu_epi8(codes, First(count), bytes);
  }

  static bool AllFinite(const float* values, int64_t count) {
    constexpr int kNotFinite = 0x01 | 0x08 | 0x10 | 0x80;  // quiet NaN, +inf, -inf, signalling NaN
    __mmask16 bad = 0;
    for (int64_t i = 0; i < count; i += 16) {
      const F value = LoadSome(values + i, count - i);
      bad = static_cast<__mmask16>(bad | _mm512_fpclass_ps_mask(value, kNotFinite));
    }
    return bad == 0;
  }

  // 64 codes -> 32 bytes: neighbours are multiplied by 1 and 16 and added.
  static void Pack4(const int8_t* codes, int64_t count, uint32_t* words) {
    const __m512i offset = _mm512_set1_epi8(8);
    const __m512i places = _mm512_set1_epi16(0x1001);
    const __m512i nibbles = _mm512_set1_epi8(15);
    int64_t i = 0;
    for (; i + 64 <= count; i += 64) {
      const __m512i signed_codes = _mm512_loadu_si512(codes + i);
      const __m512i stored = _mm512_and_si512(_mm512_add_epi8(signed_codes, offset), nibbles);
      const __m256i bytes = _mm512_cvtepi16_epi8(_mm512_maddubs_epi16(stored, places));
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(words + i / 8), bytes);
    }
    for (; i < count; i += 8) {
      uint32_t word = 0;
      for (int64_t j = 0; j < 8 && i + j < count; ++j) {
        word |= (static_cast<uint32_t>(codes[i + j] + 8) & 15u) << (4 * j);
      }
      words[i / 8] = word;
    }
  }
};

}  // namespace

const QuantizeKernels& Avx512Kernels() {
  static const QuantizeKernels kernels = MakeKernels<Avx512Lanes>("avx512");
  return kernels;
}

}  // namespace quantd
#endif  // __x86_64__
