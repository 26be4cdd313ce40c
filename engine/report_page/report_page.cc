#include "engine/report_page/report_page.h"

#include <fmt/format.h>

#include "absl/strings/escaping.h"
#include "base/digest.h"
#include "base/error.h"
#include "engine/report_page/analysis_table.h"
#include "engine/report_page/cache_table.h"
#include "engine/report_page/divergence_plot.h"
#include "engine/report_page/figure.h"
#include "engine/report_page/headline.h"
#include "engine/report_page/layer_grid.h"
#include "engine/report_page/layer_plots.h"
#include "engine/report_page/layer_table.h"
#include "engine/report_page/page_style.h"
#include "engine/report_page/page_text.h"
#include "engine/report_page/provenance.h"
#include "engine/report_page/stage_bar.h"

namespace quantd {
namespace {

// Nothing from anywhere, and of scripts only the one whose digest this is.
std::string Policy() {
  const std::string digest = absl::HexStringToBytes(Sha256Hex(kPageScript));
  return fmt::format("default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{}'",
                     absl::Base64Escape(digest));
}

std::string Plots(const Report& report) {
  const LayerGrid grid = GridOf(report);
  std::vector<Figure> figures = {OutputErrorByDepth(grid), WeightPrecisionByDepth(grid),
                                 BitsByLayer(grid)};
  if (report.evaluation.has_value()) figures.push_back(DivergencePlot(*report.evaluation));
  figures.push_back(StageBar(report));
  return ArrangeFigures(std::move(figures));
}

}  // namespace

std::string ReportPage(const Report& report) {
  const std::string name = report.model_name.empty() ? report.family : report.model_name;
  return fmt::format(
      "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
      "<meta http-equiv=\"Content-Security-Policy\" content=\"{}\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
      "<title>{}: {}</title>\n<style>{}</style></head>\n<body><main>\n{}\n{}\n{}\n{}\n{}\n"
      "<footer>The same facts for programs: report.json beside this page.</footer>\n"
      "</main>\n<script>{}</script></body></html>\n",
      Policy(), EscapeHtml(name), EscapeHtml(SchemeSummary(report)), kPageStyle, Headline(report),
      Plots(report), LayerTable(report), CacheTable(report) + AnalysisTable(report),
      Provenance(report), kPageScript);
}

}  // namespace quantd
