// Integer arithmetic that cannot overflow silently: for sizes and offsets that come from outside.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

namespace quantd {

inline std::optional<int64_t> CheckedAdd(int64_t a, int64_t b) {
  int64_t sum = 0;
  if (__builtin_add_overflow(a, b, &sum)) return std::nullopt;
  return sum;
}

inline std::optional<int64_t> CheckedMultiply(int64_t a, int64_t b) {
  int64_t product = 0;
  if (__builtin_mul_overflow(a, b, &product)) return std::nullopt;
  return product;
}

// The product of all, 1 for none; nothing if it overflows or a factor is negative.
inline std::optional<int64_t> CheckedProduct(std::span<const int64_t> factors) {
  int64_t product = 1;
  for (const int64_t factor : factors) {
    if (factor < 0 || __builtin_mul_overflow(product, factor, &product)) return std::nullopt;
  }
  return product;
}

inline constexpr int64_t DivideRoundingUp(int64_t a, int64_t b) { return (a + b - 1) / b; }

}  // namespace quantd
