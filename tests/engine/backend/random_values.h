// Random test inputs, the same on every machine and standard library.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/types/scheme.h"

namespace quantd {

// Codes, scales and zeros are the caller's to fill.
inline QuantizedRows EmptyRows(int64_t rows, int64_t columns, int64_t groups) {
  QuantizedRows empty;
  empty.rows = rows;
  empty.columns = columns;
  empty.groups = groups;
  return empty;
}

inline Scheme DynamicTokenScheme() {
  Scheme scheme;
  scheme.activations = ActivationScheme::kDynamicToken;
  return scheme;
}

class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed * 2 + 1) {}

  uint32_t Next() {  // a 64-bit linear congruential generator, its upper half
    state_ = state_ * 6364136223846793005U + 1442695040888963407U;
    return static_cast<uint32_t>(state_ >> 32);
  }
  // Uniform in [-scale, scale).
  float Symmetric(float scale) {
    return (static_cast<float>(Next() >> 8) * 0x1p-23F - 1.0F) * scale;
  }
  int64_t Below(int64_t bound) { return static_cast<int64_t>(Next()) % bound; }

  std::vector<float> Floats(int64_t count, float scale = 1.0F) {
    std::vector<float> values;
    for (int64_t i = 0; i < count; ++i) values.push_back(Symmetric(scale));
    return values;
  }
  std::vector<int8_t> Codes(int64_t count, int low, int high) {
    std::vector<int8_t> codes;
    for (int64_t i = 0; i < count; ++i)
      codes.push_back(static_cast<int8_t>(low + Below(high - low + 1)));
    return codes;
  }

 private:
  uint64_t state_;
};

}  // namespace quantd
