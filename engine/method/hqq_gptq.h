// HQQ's scales and real zeros, then GPTQ's rounding with them.
#pragma once

#include "engine/method/registry.h"

namespace quantd {

extern const Method kHqqGptq;

}  // namespace quantd
