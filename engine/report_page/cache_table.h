// Scales of an FP8 cache of keys and values, block by block.
#pragma once

#include <string>

#include "engine/types/report.h"

namespace quantd {

// Empty where the report has none.
std::string CacheTable(const Report& report);

}  // namespace quantd
