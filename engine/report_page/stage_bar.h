// Where the time went.
#pragma once

#include <string>

#include "engine/report.h"

namespace quantd {

// One bar, a segment per stage, and the seconds beside it. Empty when nothing was timed.
std::string StageBar(const Report& report);

}  // namespace quantd
