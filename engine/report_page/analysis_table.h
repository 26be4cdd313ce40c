// What other schemes would gain, linear by linear.
#pragma once

#include <string>

#include "engine/types/report.h"

namespace quantd {

// Output errors as they are, with salient channels protected and with the codebooks of the
// analysis, in percent; the means below. Of a model with very many linears only the worst are
// listed. Empty when nothing was analysed.
std::string AnalysisTable(const Report& report);

}  // namespace quantd
