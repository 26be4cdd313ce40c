// The README.md of an artifact: what it is, how good it is, how to load it.
#pragma once

#include <string>

#include "engine/plan/plan.h"
#include "engine/types/report.h"

namespace quantd {

// Markdown with the front matter that model hubs read.
std::string ModelCard(const PlannedQuantization& planned, const Report& report);

}  // namespace quantd
