// What the result was made from: enough to make it again.
#pragma once

#include <string>

#include "engine/types/report.h"

namespace quantd {

std::string Provenance(const Report& report);

}  // namespace quantd
