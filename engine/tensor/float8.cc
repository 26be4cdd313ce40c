#include "engine/tensor/float8.h"

#include <array>
#include <cmath>
#include <limits>

namespace quantd {
namespace {

using Table = std::array<float, 256>;

struct Fields {
  int exponent_bits;
  int bias;
  bool has_infinity;  // else the largest exponent has numbers, and one NaN
};

Table TableOf(const Fields& fields) {
  const int fraction_bits = 7 - fields.exponent_bits;
  const int most = (1 << fields.exponent_bits) - 1;
  const int whole = 1 << fraction_bits;
  Table table{};
  for (int code = 0; code < 256; ++code) {
    const int exponent = (code >> fraction_bits) & most;
    const int fraction = code & (whole - 1);
    float value = 0;
    if (exponent == most && (fields.has_infinity ? fraction != 0 : fraction == whole - 1)) {
      value = std::numeric_limits<float>::quiet_NaN();
    } else if (exponent == most && fields.has_infinity) {
      value = std::numeric_limits<float>::infinity();
    } else if (exponent == 0) {
      value = std::ldexp(static_cast<float>(fraction), 1 - fields.bias - fraction_bits);
    } else {
      value =
          std::ldexp(static_cast<float>(whole + fraction), exponent - fields.bias - fraction_bits);
    }
    table[static_cast<size_t>(code)] = (code & 0x80) != 0 ? -value : value;
  }
  return table;
}

// 2^(code - 127); 255 is NaN.
Table PowersOfTwo() {
  Table table{};
  for (int code = 0; code < 255; ++code) {
    table[static_cast<size_t>(code)] = std::ldexp(1.0F, code - 127);
  }
  table[255] = std::numeric_limits<float>::quiet_NaN();
  return table;
}

const Table& TableOf(DType dtype) {
  static const Table e4m3 = TableOf(Fields{.exponent_bits = 4, .bias = 7, .has_infinity = false});
  static const Table e5m2 = TableOf(Fields{.exponent_bits = 5, .bias = 15, .has_infinity = true});
  static const Table e8m0 = PowersOfTwo();
  if (dtype == DType::kF8E4M3) return e4m3;
  return dtype == DType::kF8E5M2 ? e5m2 : e8m0;
}

}  // namespace

bool IsFloat8(DType dtype) {
  return dtype == DType::kF8E4M3 || dtype == DType::kF8E5M2 || dtype == DType::kF8E8M0;
}

void WidenFloat8(const void* from, DType dtype, int64_t count, float* to) {
  const Table& table = TableOf(dtype);
  const auto* codes = static_cast<const uint8_t*>(from);
  for (int64_t i = 0; i < count; ++i) to[i] = table[codes[i]];
}

}  // namespace quantd
