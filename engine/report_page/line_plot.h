// A plot of lines over the blocks of a model, as SVG.
#pragma once

#include <string>
#include <vector>

#include "engine/report_page/axis.h"

namespace quantd {

struct PlotSeries {
  std::string name;
  std::vector<double> values;  // one per position; NaN: nothing there
};

struct LinePlot {
  std::string title;                   // for readers that cannot see it
  std::vector<std::string> positions;  // names of the positions from left to right
  std::vector<PlotSeries> series;      // all as long as `positions`
  AxisScale scale = AxisScale::kLinear;
  std::string unit;    // "%", "dB"
  double width = 560;  // of the SVG's own coordinates; the page scales it
};

// Names stand at the ends of their lines; above a position the browser shows all its values.
std::string Draw(const LinePlot& plot);

}  // namespace quantd
