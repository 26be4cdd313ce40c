// HQQ: real zero points, found from the weights alone or weighted by the inputs they meet.
#pragma once

#include "engine/method/registry.h"

namespace quantd {

extern const Method kHqq;

}  // namespace quantd
