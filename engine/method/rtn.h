// Round to nearest: weight-only, 2 to 8 bits, every granularity, symmetric or with zero points.
#pragma once

#include "engine/method/registry.h"

namespace quantd {

extern const Method kRtn;

}  // namespace quantd
