// Plain safetensors of the model's own type that hold the quantized values: for engines that read
// nothing else, for widths that no format stores, and for checking. No smaller than the original.
#pragma once

#include "engine/format/registry.h"

namespace quantd {

extern const Format kDequantized;

}  // namespace quantd
