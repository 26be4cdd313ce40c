// Where the time went.
#pragma once

#include "engine/report_page/figure.h"
#include "engine/types/report.h"

namespace quantd {

// One bar, a segment per stage, and the seconds beside it. Nothing to show when nothing was timed.
Figure StageBar(const Report& report);

}  // namespace quantd
