// What the figures of the linears look like by depth.
#pragma once

#include <string>

#include "engine/report_page/layer_grid.h"

namespace quantd {

// Relative output error and weight SNR over the blocks, one line per module type; empty when the
// report has no linears in blocks. Several linears of one type in a block are drawn as their mean.
std::string ErrorByDepth(const LayerGrid& grid);
// A strip per module type, a cell per block, coloured by bits.
std::string BitsByLayer(const LayerGrid& grid);

}  // namespace quantd
