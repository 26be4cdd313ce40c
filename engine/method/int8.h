// INT8: weights per channel, activations per token at run time (W8A8), or weights alone (W8A16).
#pragma once

#include "engine/method/registry.h"

namespace quantd {

extern const Method kInt8;

}  // namespace quantd
