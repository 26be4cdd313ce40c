// How the KL of the tokens is spread.
#pragma once

#include <string>

#include "engine/report.h"

namespace quantd {

// Bars over a logarithmic axis, mean and 99th percentile marked. Empty without counts.
std::string DivergencePlot(const EvaluationResult& evaluation);

}  // namespace quantd
