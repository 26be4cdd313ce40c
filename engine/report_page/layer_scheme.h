// How a linear was quantized, in words.
#pragma once

#include <string>

#include "engine/types/progress.h"

namespace quantd {

// "rtn int4 g128 sym mse", as Describe(Scheme).
std::string SchemeText(const LayerReport& layer);

}  // namespace quantd
