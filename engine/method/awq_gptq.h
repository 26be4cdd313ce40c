// AWQ's scales, then GPTQ's rounding of what they leave.
#pragma once

#include "engine/method/registry.h"

namespace quantd {

extern const Method kAwqGptq;

}  // namespace quantd
