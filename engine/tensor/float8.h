// Floats of eight bits, as the OCP formats (OFP8, MX) and torch have them.
#pragma once

#include <cstdint>

#include "engine/tensor/dtype.h"

namespace quantd {

// F8_E4M3 (4 bits of exponent, no infinities), F8_E5M2 and F8_E8M0 (a power of two, no sign).
bool IsFloat8(DType dtype);
// Widens `count` elements of such a type to f32; exact. Every NaN becomes f32's quiet one.
void WidenFloat8(const void* from, DType dtype, int64_t count, float* to);

}  // namespace quantd
