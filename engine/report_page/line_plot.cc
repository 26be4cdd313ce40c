#include "engine/report_page/line_plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <string_view>

#include "engine/report_page/page_text.h"

namespace quantd {
namespace {

constexpr double kHeight = 290, kLeft = 44, kRight = 58, kTop = 12, kBottom = 34;
constexpr double kLabelHeight = 13;
constexpr size_t kColours = 8;
constexpr size_t kMostMarked = 24;  // positions; above that markers would be a band

class LineDrawing {
 public:
  explicit LineDrawing(const LinePlot& plot) : plot_(plot), axis_(AxisOf(plot)) {}

  std::string Draw() {
    svg_ = fmt::format(
        "<svg class=\"plot\" viewBox=\"0 0 {:.0f} {:.0f}\" role=\"img\" aria-label=\"{}\">",
        plot_.width, kHeight, EscapeHtml(plot_.title));
    DrawGrid();
    DrawPositions();
    for (size_t i = 0; i < plot_.series.size(); ++i) DrawSeries(i);
    DrawNames();
    DrawHits();
    return svg_ + "</svg>";
  }

 private:
  static Axis AxisOf(const LinePlot& plot) {
    std::vector<double> values;
    for (const PlotSeries& series : plot.series) {
      values.insert(values.end(), series.values.begin(), series.values.end());
    }
    return Axis::Covering(values, plot.scale, kHeight - kBottom, kTop);
  }
  double Right() const { return plot_.width - kRight; }
  double Step() const {
    return (Right() - kLeft) / static_cast<double>(std::max<size_t>(plot_.positions.size(), 1));
  }
  double X(size_t position) const { return kLeft + (static_cast<double>(position) + 0.5) * Step(); }

  void DrawGrid() {
    for (const double tick : axis_.ticks()) {
      const double y = axis_.At(tick);
      svg_ += fmt::format("<path class=\"grid\" d=\"M{:.0f} {:.1f}H{:.0f}\"/>", kLeft, y, Right());
      svg_ += fmt::format("<text class=\"tick end\" x=\"{:.0f}\" y=\"{:.1f}\">{}{}</text>",
                          kLeft - 6, y + 3.5, axis_.TickText(tick), plot_.unit == "%" ? "%" : "");
    }
    if (plot_.unit != "%") {
      svg_ += fmt::format("<text class=\"tick end\" x=\"{:.0f}\" y=\"{:.1f}\">{}</text>", kLeft - 6,
                          kHeight - kBottom + 17, EscapeHtml(plot_.unit));
    }
  }

  void DrawPositions() {
    const size_t every = std::max<size_t>(1, (plot_.positions.size() + 15) / 16);
    const size_t round = every > 5 ? 10 : every > 2 ? 5 : every;
    for (size_t i = 0; i < plot_.positions.size(); i += round) {
      svg_ += fmt::format("<text class=\"tick mid\" x=\"{:.1f}\" y=\"{:.0f}\">{}</text>", X(i),
                          kHeight - kBottom + 17, EscapeHtml(plot_.positions[i]));
    }
    svg_ += fmt::format("<text class=\"tick mid\" x=\"{:.1f}\" y=\"{:.0f}\">block</text>",
                        (kLeft + Right()) / 2, kHeight - 3);
  }

  // Circle, square, triangle, diamond: lines can be told apart without colours.
  static std::string Marker(size_t series, double x, double y) {
    switch (series % 4) {
      case 0:
        return fmt::format("M{:.1f} {:.1f}m-3.2 0a3.2 3.2 0 1 0 6.4 0a3.2 3.2 0 1 0-6.4 0z", x, y);
      case 1:
        return fmt::format("M{:.1f} {:.1f}m-2.9-2.9h5.8v5.8h-5.8z", x, y);
      case 2:
        return fmt::format("M{:.1f} {:.1f}m0-3.9l3.8 6.6h-7.6z", x, y);
      default:
        return fmt::format("M{:.1f} {:.1f}m0-4.2l4.2 4.2l-4.2 4.2l-4.2-4.2z", x, y);
    }
  }

  void DrawSeries(size_t index) {
    const std::vector<double>& values = plot_.series[index].values;
    std::string line, marks;
    bool pen = false;
    for (size_t i = 0; i < values.size(); ++i) {
      if (!axis_.Shows(values[i])) {
        pen = false;
        continue;
      }
      const double y = axis_.At(values[i]);
      line += fmt::format("{}{:.1f} {:.1f}", pen ? "L" : "M", X(i), y);
      pen = true;
      if (values.size() <= kMostMarked) marks += Marker(index, X(i), y);
    }
    const size_t colour = index % kColours;
    svg_ += fmt::format("<path class=\"line c{}{}\" d=\"{}\"/>", colour,
                        index >= kColours / 2 ? " dash" : "", line);
    if (!marks.empty()) svg_ += fmt::format("<path class=\"mark c{}\" d=\"{}\"/>", colour, marks);
  }

  // At the last value of each line, moved apart where they would cover each other.
  void DrawNames() {
    struct Name {
      size_t series;
      double at, y;
    };
    std::vector<Name> names;
    for (size_t i = 0; i < plot_.series.size(); ++i) {
      const std::vector<double>& values = plot_.series[i].values;
      const auto last = std::find_if(values.rbegin(), values.rend(),
                                     [&](double value) { return axis_.Shows(value); });
      if (last == values.rend()) continue;
      names.push_back({.series = i, .at = axis_.At(*last), .y = axis_.At(*last)});
    }
    std::stable_sort(names.begin(), names.end(),
                     [](const Name& a, const Name& b) { return a.at < b.at; });
    for (size_t i = 1; i < names.size(); ++i) {
      names[i].y = std::max(names[i].y, names[i - 1].y + kLabelHeight);
    }
    double floor = kHeight - kBottom + 4;
    for (size_t i = names.size(); i-- > 0; floor -= kLabelHeight) {
      names[i].y = std::min(names[i].y, floor);
    }
    for (const Name& name : names) {
      svg_ += fmt::format(
          "<path class=\"lead c{0}\" d=\"M{1:.1f} {2:.1f}L{3:.1f} {4:.1f}\"/><path class=\"mark "
          "c{0}\" d=\"{5}\"/><text class=\"name t{0}\" x=\"{6:.1f}\" y=\"{7:.1f}\">{8}</text>",
          name.series % kColours, X(plot_.positions.size() - 1) + 4, name.at, Right() + 6, name.y,
          Marker(name.series, Right() + 10, name.y), Right() + 18, name.y + 3.5,
          EscapeHtml(plot_.series[name.series].name));
    }
  }

  void DrawHits() {
    for (size_t i = 0; i < plot_.positions.size(); ++i) {
      std::string text = "block " + plot_.positions[i];
      for (const PlotSeries& series : plot_.series) {
        if (!std::isfinite(series.values[i])) continue;
        text += fmt::format("\n{} {:.3g} {}", series.name, series.values[i], plot_.unit);
      }
      svg_ += fmt::format(
          "<rect class=\"hit\" x=\"{:.1f}\" y=\"{:.0f}\" width=\"{:.1f}\" height=\"{:.0f}\"><title>"
          "{}</title></rect>",
          X(i) - Step() / 2, kTop, Step(), kHeight - kTop - kBottom, EscapeHtml(text));
    }
  }

  const LinePlot& plot_;
  const Axis axis_;
  std::string svg_;
};

}  // namespace

std::string Draw(const LinePlot& plot) { return LineDrawing(plot).Draw(); }

}  // namespace quantd
