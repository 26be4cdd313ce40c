// What the figures of the linears look like by depth.
#pragma once

#include "engine/report_page/figure.h"
#include "engine/report_page/layer_grid.h"

namespace quantd {

// Over the blocks, one line per module type; nothing to show when the report has no linears in
// blocks. Several linears of one type in a block (experts) are drawn as their mean.
Figure OutputErrorByDepth(const LayerGrid& grid);
Figure WeightPrecisionByDepth(const LayerGrid& grid);
// A strip per module type, a cell per block, coloured by bits.
Figure BitsByLayer(const LayerGrid& grid);

}  // namespace quantd
