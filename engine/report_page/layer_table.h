// Every linear with its figures, as a table that sorts and filters itself.
#pragma once

#include <string>

#include "engine/types/report.h"

namespace quantd {

// Columns for the figures that methods report come after those that every method has. Of a model
// with very many linears (experts) only the worst are listed. Empty without linears.
std::string LayerTable(const Report& report);

}  // namespace quantd
