// quantd/report.html: a report as a person reads it.
#pragma once

#include <string>

#include "engine/types/report.h"

namespace quantd {

// The whole page as UTF-8, self-contained: it asks the network for nothing and runs no script but
// its own, whatever the names in the report are.
std::string ReportPage(const Report& report);

}  // namespace quantd
