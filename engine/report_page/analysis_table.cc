#include "engine/report_page/analysis_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "engine/report_page/page_text.h"

namespace quantd {
namespace {

constexpr size_t kMostRows = 300;  // keeps the page small

// One linear's figures by the name of their column.
using Figures = std::vector<std::pair<std::string, double>>;

Figures FiguresOf(const LayerAnalysis& analysis) {
  Figures figures = {{"as it is", analysis.output_error}};
  for (const SalientProtection& one : analysis.salient) {
    figures.emplace_back(fmt::format("{:g} % protected", 100 * one.share), one.output_error);
  }
  for (const CodebookError& one : analysis.codebooks) {
    if (one.name == "uniform") continue;
    figures.emplace_back(fmt::format("{}, {:.2f} bits", one.name, one.bits_per_weight),
                         one.output_error);
  }
  for (const CodebookError& one : analysis.codebooks) {
    figures.emplace_back("weights, " + one.name, one.weight_error);
  }
  return figures;
}

std::optional<double> Find(const Figures& figures, const std::string& name) {
  for (const auto& [known, value] : figures) {
    if (known == name) return value;
  }
  return std::nullopt;
}

std::string Row(std::string_view name, const Figures& figures,
                const std::vector<std::string>& columns) {
  std::string row = "<tr><td class=\"n\">" + EscapeHtml(name) + "</td>";
  for (const std::string& column : columns) {
    const std::optional<double> value = Find(figures, column);
    row += value.has_value() ? fmt::format("<td>{:.2f}</td>", 100 * *value) : "<td>–</td>";
  }
  return row + "</tr>\n";
}

Figures MeansOf(const std::vector<Figures>& all, const std::vector<std::string>& columns) {
  Figures means;
  for (const std::string& column : columns) {
    double sum = 0;
    int count = 0;
    for (const Figures& figures : all) {
      const std::optional<double> value = Find(figures, column);
      if (!value.has_value()) continue;
      sum += *value;
      ++count;
    }
    if (count > 0) means.emplace_back(column, sum / count);
  }
  return means;
}

}  // namespace

std::string AnalysisTable(const Report& report) {
  std::vector<const LayerReport*> layers;
  for (const LayerReport& layer : report.layers) {
    if (layer.analysis.has_value()) layers.push_back(&layer);
  }
  if (layers.empty()) return "";
  std::vector<Figures> figures;
  std::vector<std::string> columns;
  for (const LayerReport* layer : layers) {
    figures.push_back(FiguresOf(*layer->analysis));
    for (const auto& [name, value] : figures.back()) {
      if (std::find(columns.begin(), columns.end(), name) == columns.end()) columns.push_back(name);
    }
  }
  std::vector<size_t> order;
  for (size_t i = 0; i < layers.size(); ++i) order.push_back(i);
  if (order.size() > kMostRows) {
    std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
      return layers[a]->analysis->output_error > layers[b]->analysis->output_error;
    });
    order.resize(kMostRows);
    std::sort(order.begin(), order.end());
  }
  std::string head = "<th class=\"n\">linear</th>", rows;
  for (const std::string& column : columns) head += "<th>" + EscapeHtml(column) + "</th>";
  for (const size_t i : order) rows += Row(layers[i]->name, figures[i], columns);
  const std::string count = GroupedText(static_cast<int64_t>(layers.size()));
  return fmt::format(
      "<section><h2>What else would gain</h2><p>Relative error of the outputs on sampled tokens, "
      "in percent: as the linear is, with its most salient input channels kept in 16 bit, and with "
      "other levels for the weights of a group; last, the relative error of the weights. Measured "
      "only: the artifact is not changed. {}</p><div class=\"scroll\"><table id=\"analysis\">"
      "<thead><tr>{}</tr></thead><tbody>{}</tbody><tfoot>{}</tfoot></table></div></section>",
      order.size() < layers.size() ? fmt::format("The {} worst of {}.", order.size(), count)
                                   : count + " linears.",
      head, rows, Row("mean of all", MeansOf(figures, columns), columns));
}

}  // namespace quantd
