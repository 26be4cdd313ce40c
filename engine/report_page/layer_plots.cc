#include "engine/report_page/layer_plots.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <set>

#include "engine/report_page/line_plot.h"
#include "engine/report_page/page_text.h"

namespace quantd {
namespace {

constexpr double kNothing = std::numeric_limits<double>::quiet_NaN();
constexpr double kLossless = 999;  // weight_snr_db when nothing was lost
constexpr size_t kWideFrom = 25;   // blocks; more of them take the whole width of the page
constexpr double kNarrow = 560, kWide = 1140;
constexpr double kNumberedFrom = 18;  // width of a cell that says its bits

using Measure = std::function<double(const LayerReport&)>;

double Mean(const GridCell& cell, const Measure& measure) {
  double sum = 0;
  int count = 0;
  for (const LayerReport* layer : cell.layers) {
    const double value = measure(*layer);
    if (!std::isfinite(value)) continue;
    sum += value;
    ++count;
  }
  return count == 0 ? kNothing : sum / count;
}

FigureWidth WidthOf(const LayerGrid& grid) {
  return grid.blocks.size() >= kWideFrom ? FigureWidth::kWhole : FigureWidth::kHalf;
}

double PixelsOf(FigureWidth width) { return width == FigureWidth::kWhole ? kWide : kNarrow; }

// `plot` with a line per module type that has values; empty without any.
std::string DrawByDepth(const LayerGrid& grid, LinePlot plot, const Measure& measure) {
  for (const int64_t block : grid.blocks) plot.positions.push_back(fmt::format("{}", block));
  for (size_t role = 0; role < grid.roles.size(); ++role) {
    PlotSeries series{.name = grid.roles[role], .values = {}};
    for (const GridCell& cell : grid.cells[role]) series.values.push_back(Mean(cell, measure));
    const bool shown = std::any_of(series.values.begin(), series.values.end(),
                                   [](double value) { return std::isfinite(value); });
    if (shown) plot.series.push_back(std::move(series));
  }
  plot.width = PixelsOf(WidthOf(grid));
  return plot.series.empty() ? "" : Draw(plot);
}

std::string CellText(const std::string& role, int64_t block, const GridCell& cell) {
  std::map<std::string, int64_t> schemes;
  for (const LayerReport* layer : cell.layers) ++schemes[SchemeText(*layer)];
  if (cell.skipped > 0) schemes["16 bit, as it was"] += cell.skipped;
  std::string text = fmt::format("block {} {}", block, role);
  for (const auto& [scheme, count] : schemes) {
    text += "\n" + (count > 1 ? fmt::format("{} x ", count) : "") + scheme;
  }
  return text;
}

// 16 for a place where something stayed as it was and nothing was quantized; 0 for an empty one.
int BitsOf(const GridCell& cell) {
  if (cell.layers.empty()) return cell.skipped > 0 ? 16 : 0;
  const double mean = Mean(cell, [](const LayerReport& layer) { return layer.bits; });
  return static_cast<int>(std::lround(mean));
}

struct Strip {
  double width, row;
  double left = 52, right = 6, top = 4, gap = 2;
  double Cell(size_t blocks) const {
    return (width - left - right) / static_cast<double>(std::max<size_t>(blocks, 1));
  }
};

std::string DrawCells(const LayerGrid& grid, const Strip& strip) {
  const double width = strip.Cell(grid.blocks.size());
  const double gap = width > 8 ? strip.gap : 0.5;
  std::string svg;
  for (size_t role = 0; role < grid.roles.size(); ++role) {
    const double y = strip.top + static_cast<double>(role) * strip.row;
    svg += fmt::format("<text class=\"tick end\" x=\"{:.0f}\" y=\"{:.1f}\">{}</text>",
                       strip.left - 8, y + strip.row / 2 + 3, EscapeHtml(grid.roles[role]));
    for (size_t i = 0; i < grid.blocks.size(); ++i) {
      const GridCell& cell = grid.cells[role][i];
      const int bits = BitsOf(cell);
      if (bits == 0) continue;
      const double x = strip.left + static_cast<double>(i) * width;
      svg += fmt::format(
          "<rect class=\"b{}\" x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\" "
          "rx=\"{}\"><title>{}</title></rect>",
          bits, x, y, width - gap, strip.row - strip.gap, width > 8 ? 2 : 0,
          EscapeHtml(CellText(grid.roles[role], grid.blocks[i], cell)));
      if (width < kNumberedFrom) continue;
      svg +=
          fmt::format("<text class=\"bit{}\" x=\"{:.1f}\" y=\"{:.1f}\">{}</text>",
                      bits >= 6 ? " on" : "", x + (width - gap) / 2, y + strip.row / 2 + 3, bits);
    }
  }
  return svg;
}

// The colours that the strip has, in words.
std::string ColourKey(const LayerGrid& grid) {
  std::set<int> present;
  for (const auto& row : grid.cells) {
    for (const GridCell& cell : row) present.insert(BitsOf(cell));
  }
  present.erase(0);
  std::string key;
  for (const int bits : present) {
    key += fmt::format(
        "<span class=\"key\"><svg viewBox=\"0 0 12 12\"><rect class=\"b{0}\" width=\"12\" "
        "height=\"12\" rx=\"2\"/></svg>{0} bit</span>",
        bits);
  }
  return key;
}

}  // namespace

Figure OutputErrorByDepth(const LayerGrid& grid) {
  LinePlot plot;
  plot.title = "Output error by depth";
  plot.scale = AxisScale::kLog;
  plot.unit = "%";
  const Measure error = [](const LayerReport& layer) {
    return layer.relative_output_error ? 100 * *layer.relative_output_error : kNothing;
  };
  return {.title = plot.title,
          .caption =
              "How far the output of each linear is off, on evaluation tokens: "
              "‖X&#8202;ΔWᵀ‖ / ‖X&#8202;Wᵀ‖. Lower is better.",
          .content = DrawByDepth(grid, plot, error),
          .width = WidthOf(grid)};
}

Figure WeightPrecisionByDepth(const LayerGrid& grid) {
  LinePlot plot;
  plot.title = "Weight precision by depth";
  plot.unit = "dB";
  const Measure snr = [](const LayerReport& layer) {
    return layer.weight_snr_db >= kLossless ? kNothing : layer.weight_snr_db;
  };
  return {.title = plot.title,
          .caption =
              "Signal to noise of the weights alone: 10 log₁₀ Σw² / "
              "Σ(w&#8202;−&#8202;w′)². Higher is better.",
          .content = DrawByDepth(grid, plot, snr),
          .width = WidthOf(grid)};
}

Figure BitsByLayer(const LayerGrid& grid) {
  Figure figure{
      .title = "Bits by layer", .caption = ColourKey(grid), .content = "", .width = WidthOf(grid)};
  if (grid.blocks.empty()) return figure;
  // Half as wide, as high as the plot beside it.
  const double row = figure.width == FigureWidth::kWhole
                         ? 22
                         : std::clamp(250 / static_cast<double>(grid.roles.size()), 16.0, 34.0);
  const Strip strip{.width = PixelsOf(figure.width), .row = row};
  const double bottom = strip.top + static_cast<double>(grid.roles.size()) * strip.row;
  std::string svg = fmt::format(
      "<svg class=\"plot\" viewBox=\"0 0 {:.0f} {:.0f}\" role=\"img\" aria-label=\"Bits of each "
      "linear\">",
      strip.width, bottom + 32);
  svg += DrawCells(grid, strip);
  const size_t every = grid.blocks.size() > 32 ? 5 : grid.blocks.size() > 16 ? 2 : 1;
  const double width = strip.Cell(grid.blocks.size());
  for (size_t i = 0; i < grid.blocks.size(); i += every) {
    svg += fmt::format("<text class=\"tick mid\" x=\"{:.1f}\" y=\"{:.1f}\">{}</text>",
                       strip.left + (static_cast<double>(i) + 0.5) * width - 1, bottom + 14,
                       grid.blocks[i]);
  }
  svg += fmt::format("<text class=\"tick mid\" x=\"{:.1f}\" y=\"{:.1f}\">block</text></svg>",
                     (strip.left + strip.width - strip.right) / 2, bottom + 30);
  figure.content = std::move(svg);
  return figure;
}

}  // namespace quantd
