// Weights as blocks of a GGUF type.
#pragma once

#include "engine/method/registry.h"

namespace quantd {

extern const Method kGgufMethod;

}  // namespace quantd
