// How the KL of the tokens is spread.
#pragma once

#include <string>

#include "engine/report_page/figure.h"
#include "engine/types/report.h"

namespace quantd {

// Bars over a logarithmic axis, mean and 99th percentile marked. Without counts there is nothing to
// show.
Figure DivergencePlot(const EvaluationResult& evaluation);

}  // namespace quantd
