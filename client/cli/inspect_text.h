// An inspection as people read it.
#pragma once

#include <string>

#include "engine/inspect/inspection.h"

namespace quantd {

// Facts, a table of modules, notes, problems; at most `columns` wide where that can be done, 0: as
// wide as needed.
std::string InspectionText(const Inspection& inspection, int columns);
// Every tensor: name, type, shape, bytes, file.
std::string TensorTable(const Inspection& inspection, int columns);

}  // namespace quantd
