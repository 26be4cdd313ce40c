// What a person wants to know before anything else.
#pragma once

#include <string>

#include "engine/types/report.h"

namespace quantd {

// The name of the model, what was done to it, the verdict of the gate and the figures.
std::string Headline(const Report& report);

// "rtn int4 g128 sym mse", "2 schemes": one line on what was done.
std::string SchemeSummary(const Report& report);

}  // namespace quantd
