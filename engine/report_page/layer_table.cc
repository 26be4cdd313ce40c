#include "engine/report_page/layer_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "engine/report_page/page_text.h"

namespace quantd {
namespace {

constexpr size_t kMostRows = 1000;  // keeps the page small
constexpr double kLossless = 999;   // weight_snr_db when nothing was lost

// What the rows are chosen by when there are too many: larger is worse.
double Badness(const LayerReport& layer) {
  return layer.relative_output_error.value_or(std::pow(10, -layer.weight_snr_db / 20));
}

// In the order of the report.
std::vector<const LayerReport*> Chosen(const Report& report) {
  std::vector<const LayerReport*> layers;
  for (const LayerReport& layer : report.layers) layers.push_back(&layer);
  if (layers.size() <= kMostRows) return layers;
  std::stable_sort(layers.begin(), layers.end(),
                   [](const auto* a, const auto* b) { return Badness(*a) > Badness(*b); });
  layers.resize(kMostRows);
  std::sort(layers.begin(), layers.end());  // all are elements of one vector
  return layers;
}

std::vector<std::string> FigureNames(const std::vector<const LayerReport*>& layers) {
  std::vector<std::string> names;
  for (const LayerReport* layer : layers) {
    for (const auto& [name, value] : layer->figures) {
      if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
    }
  }
  return names;
}

std::string Head(std::string_view name, std::string_view style = "") {
  return fmt::format("<th{}><button>{}</button></th>", style, EscapeHtml(name));
}

std::string Row(const LayerReport& layer, const std::vector<std::string>& figures, double worst) {
  std::string row = fmt::format(
      "<tr><td class=\"n\">{}</td><td class=\"s\">{}</td><td>{} × {}</td><td>{}</td>",
      EscapeHtml(layer.name), EscapeHtml(SchemeText(layer)), layer.out_features, layer.in_features,
      layer.weight_snr_db >= kLossless ? "∞" : fmt::format("{:.2f}", layer.weight_snr_db));
  if (layer.relative_output_error.has_value()) {
    const double percent = 100 * *layer.relative_output_error;
    row += fmt::format("<td class=\"v\" style=\"--p:{:.0f}%\">{:.2f}</td>",
                       worst > 0 ? 100 * percent / worst : 0, percent);
  } else {
    row += "<td>–</td>";
  }
  for (const std::string& name : figures) {
    const auto found = std::find_if(layer.figures.begin(), layer.figures.end(),
                                    [&](const auto& figure) { return figure.first == name; });
    row +=
        found == layer.figures.end() ? "<td>–</td>" : "<td>" + FigureText(found->second) + "</td>";
  }
  return row + fmt::format("<td>{:.3f}</td></tr>", layer.seconds);
}

}  // namespace

std::string LayerTable(const Report& report) {
  const std::vector<const LayerReport*> layers = Chosen(report);
  if (layers.empty()) return "";
  const std::vector<std::string> figures = FigureNames(layers);
  double worst = 0;
  for (const LayerReport* layer : layers) {
    worst = std::max(worst, 100 * layer->relative_output_error.value_or(0));
  }
  std::string head = Head("linear", " class=\"n\"") + Head("scheme", " class=\"s\"") +
                     Head("shape") + Head("SNR, dB") + Head("output error, %");
  for (const std::string& name : figures) head += Head(name);
  head += Head("seconds");
  std::string rows;
  for (const LayerReport* layer : layers) rows += Row(*layer, figures, worst) + "\n";
  const std::string count = GroupedText(static_cast<int64_t>(report.layers.size()));
  const std::string note =
      layers.size() < report.layers.size()
          ? fmt::format("The {} worst of {}; report.json has all.", layers.size(), count)
          : fmt::format("{}. Click a heading to sort.", count);
  return fmt::format(
      "<section><div class=\"bar-line\"><h2>Linears</h2><p>{}</p><input id=\"filter\" "
      "type=\"search\" placeholder=\"Filter by name or scheme\" aria-label=\"Filter by name or "
      "scheme\"></div><div class=\"scroll\"><table id=\"linears\"><thead><tr>{}</tr></thead>"
      "<tbody>{}</tbody></table></div></section>",
      note, head, rows);
}

}  // namespace quantd
