// 16 lanes as two registers of eight f32 and four of four f64. Compiled with -mavx2 -mfma; runs
// only where the machine has it.

#if defined(__x86_64__)
#include <immintrin.h>

#include "engine/backend/cpu/quantize_lanes.h"

namespace quantd {
namespace {

struct Avx2Lanes {
  static constexpr bool kFusesProducts = true;
  static constexpr int kTogether = 2;
  struct F {
    __m256 low, high;
  };

  static F Set(float value) { return {_mm256_set1_ps(value), _mm256_set1_ps(value)}; }
  static F Load(const float* from) { return {_mm256_loadu_ps(from), _mm256_loadu_ps(from + 8)}; }
  static F LoadSome(const float* from, int64_t count) {
    alignas(32) float lanes[rules::kLanes] = {};
    for (int64_t j = 0; j < count; ++j) lanes[j] = from[j];
    return {_mm256_load_ps(lanes), _mm256_load_ps(lanes + 8)};
  }
  static F Add(F a, F b) { return {_mm256_add_ps(a.low, b.low), _mm256_add_ps(a.high, b.high)}; }
  static F Sub(F a, F b) { return {_mm256_sub_ps(a.low, b.low), _mm256_sub_ps(a.high, b.high)}; }
  static F Mul(F a, F b) { return {_mm256_mul_ps(a.low, b.low), _mm256_mul_ps(a.high, b.high)}; }
  static F Div(F a, F b) { return {_mm256_div_ps(a.low, b.low), _mm256_div_ps(a.high, b.high)}; }
  static F MulAdd(F a, F b, F c) {
    return {_mm256_fmadd_ps(a.low, b.low, c.low), _mm256_fmadd_ps(a.high, b.high, c.high)};
  }
  static F MulSub(F a, F b, F c) {
    return {_mm256_fmsub_ps(a.low, b.low, c.low), _mm256_fmsub_ps(a.high, b.high, c.high)};
  }
  static F Min(F a, F b) { return {_mm256_min_ps(a.low, b.low), _mm256_min_ps(a.high, b.high)}; }
  static F Max(F a, F b) { return {_mm256_max_ps(a.low, b.low), _mm256_max_ps(a.high, b.high)}; }

  static __m128 UpperHalf(__m256 a) { return _mm256_extractf128_ps(a, 1); }
  // Two sums to a register, then four: their halves and quarters meet on the way.
  static __m256 FoldTwo(F a, F b) {
    const __m256 eight_a = _mm256_add_ps(a.low, a.high), eight_b = _mm256_add_ps(b.low, b.high);
    return _mm256_add_ps(_mm256_permute2f128_ps(eight_a, eight_b, 0x20),
                         _mm256_permute2f128_ps(eight_a, eight_b, 0x31));
  }
  static void SumFour(const F* four, float* sums) {
    const __m256 ab = FoldTwo(four[0], four[1]), cd = FoldTwo(four[2], four[3]);
    const __m256 two = _mm256_add_ps(_mm256_shuffle_ps(ab, cd, 0x44),  // a c | b d
                                     _mm256_shuffle_ps(ab, cd, 0xee));
    const __m256 one =
        _mm256_add_ps(_mm256_shuffle_ps(two, two, 0x88), _mm256_shuffle_ps(two, two, 0xdd));
    const __m128 ac = _mm256_castps256_ps128(one), bd = UpperHalf(one);
    _mm_storeu_ps(sums, _mm_unpacklo_ps(ac, bd));
  }
  static float MinF(F a) {
    const __m256 eight = _mm256_min_ps(a.low, a.high);
    const __m128 four = _mm_min_ps(_mm256_castps256_ps128(eight), UpperHalf(eight));
    const __m128 two = _mm_min_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_min_ss(two, _mm_shuffle_ps(two, two, 1)));
  }
  static float MaxF(F a) {
    const __m256 eight = _mm256_max_ps(a.low, a.high);
    const __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), UpperHalf(eight));
    const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_shuffle_ps(two, two, 1)));
  }

  static void Store(F value, float* to, int64_t count) {
    if (count >= rules::kLanes) {
      _mm256_storeu_ps(to, value.low);
      _mm256_storeu_ps(to + 8, value.high);
      return;
    }
    alignas(32) float lanes[rules::kLanes];
    _mm256_store_ps(lanes, value.low);
    _mm256_store_ps(lanes + 8, value.high);
    for (int64_t j = 0; j < count; ++j) to[j] = lanes[j];
  }
  static void StoreCodes(F value, int8_t* codes, int64_t count) {
    const __m256i low = _mm256_cvtps_epi32(value.low), high = _mm256_cvtps_epi32(value.high);
    // Packing works within halves of 128 bits: put the quarters back in order.
    const __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(low, high), 0xd8);
    const __m128i bytes =
        _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
    if (count >= rules::kLanes) {
      _mm_storeu_si128(reinterpret_cast<__m128i*>(codes), bytes);
      return;
    }
    alignas(16) int8_t lanes[rules::kLanes];
    _mm_store_si128(reinterpret_cast<__m128i*>(lanes), bytes);
    for (int64_t j = 0; j < count; ++j) codes[j] = lanes[j];
  }

  static bool AllFinite(const float* values, int64_t count) {
    const __m256i exponent = _mm256_set1_epi32(0x7f800000);
    __m256i bad = _mm256_setzero_si256();
    int64_t i = 0;
    for (; i + 8 <= count; i += 8) {
      const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(values + i));
      bad = _mm256_or_si256(bad, _mm256_cmpeq_epi32(_mm256_and_si256(bits, exponent), exponent));
    }
    for (; i < count; ++i) {
      uint32_t bits = 0;
      __builtin_memcpy(&bits, values + i, sizeof(bits));
      if ((bits & 0x7f800000u) == 0x7f800000u) return false;
    }
    return _mm256_testz_si256(bad, bad) != 0;
  }

  // 32 codes -> 16 bytes: neighbours are multiplied by 1 and 16 and added.
  static void Pack4(const int8_t* codes, int64_t count, uint32_t* words) {
    const __m256i offset = _mm256_set1_epi8(8);
    const __m256i places = _mm256_set1_epi16(0x1001);
    const __m256i nibbles = _mm256_set1_epi8(15);
    int64_t i = 0;
    for (; i + 32 <= count; i += 32) {
      const __m256i signed_codes = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(codes + i));
      const __m256i stored = _mm256_and_si256(_mm256_add_epi8(signed_codes, offset), nibbles);
      const __m256i pairs = _mm256_maddubs_epi16(stored, places);
      const __m256i bytes = _mm256_permute4x64_epi64(_mm256_packus_epi16(pairs, pairs), 0xd8);
      _mm_storeu_si128(reinterpret_cast<__m128i*>(words + i / 8), _mm256_castsi256_si128(bytes));
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

const QuantizeKernels& Avx2Kernels() {
  static const QuantizeKernels kernels = MakeKernels<Avx2Lanes>("avx2");
  return kernels;
}

}  // namespace quantd
#endif  // __x86_64__
