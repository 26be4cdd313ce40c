#include "engine/report_page/headline.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "engine/report_page/page_text.h"

namespace quantd {
namespace {

std::string Tile(std::string_view name, std::string_view value, std::string_view more) {
  return fmt::format("<div class=\"tile\"><dt>{}</dt><dd>{}<small>{}</small></dd></div>", name,
                     value, more);
}

std::string SizeTiles(const Report& report) {
  std::string change = "from " + BytesText(report.bytes_original);
  const double ratio = report.bytes_quantized > 0 ? static_cast<double>(report.bytes_original) /
                                                        static_cast<double>(report.bytes_quantized)
                                                  : 0;
  // Format dequantized takes the room of the original.
  if (ratio > 1.005) change += fmt::format(", {:.2f} times smaller", ratio);
  return Tile("bits per weight", fmt::format("{:.3f}", report.bits_per_weight),
              "codes, scales and zero points") +
         Tile("size", BytesText(report.bytes_quantized), change);
}

std::string AccuracyTiles(const Report& report) {
  if (!report.evaluation.has_value()) {
    return Tile("accuracy", "not measured", "the job ran without evaluation");
  }
  const EvaluationResult& result = *report.evaluation;
  const double growth = 100 * (result.perplexity_quantized / result.perplexity_original - 1);
  return Tile("perplexity", FigureText(result.perplexity_quantized),
              fmt::format("from {}, {:+.2f} %", FigureText(result.perplexity_original), growth)) +
         Tile("mean KL", FigureText(result.kl_mean),
              fmt::format("nats per token, p99 {}", FigureText(result.kl_p99))) +
         Tile("top-1 agreement", fmt::format("{:.2f} %", 100 * result.top1_agreement),
              fmt::format("of {} tokens", GroupedText(result.tokens)));
}

std::string TimeTiles(const Report& report) {
  const std::string calibration =
      report.calibration_tokens > 0
          ? fmt::format("{} calibration tokens", GroupedText(report.calibration_tokens))
          : std::string("no calibration needed");
  return Tile("time", SecondsText(report.seconds_total), calibration) +
         Tile("peak memory", BytesText(report.peak_rss_bytes),
              fmt::format("{} parameters", CountText(report.parameters)));
}

std::string Verdict(const GateVerdict& gate) {
  if (!gate.passed) return "<span class=\"verdict bad\">quality gate missed</span>";
  if (gate.limits.empty()) return "<span class=\"verdict\">no quality gate</span>";
  return fmt::format("<span class=\"verdict good\" title=\"{}\">quality gate passed</span>",
                     EscapeHtml(fmt::format("{}", fmt::join(gate.limits, ", "))));
}

std::string Lines(const std::vector<std::string>& lines, std::string_view style) {
  if (lines.empty()) return "";
  std::string items;
  for (const std::string& line : lines) items += "<li>" + EscapeHtml(line) + "</li>";
  return fmt::format("<ul class=\"lines {}\">{}</ul>", style, items);
}

}  // namespace

std::string SchemeSummary(const Report& report) {
  std::map<std::string, int64_t> counts;
  for (const LayerReport& layer : report.layers) ++counts[SchemeText(layer)];
  if (counts.empty()) return "nothing was quantized";
  const auto most =
      std::max_element(counts.begin(), counts.end(),
                       [](const auto& a, const auto& b) { return a.second < b.second; });
  if (counts.size() == 1) return most->first;
  return fmt::format("{}, and {} other {}", most->first, counts.size() - 1,
                     counts.size() == 2 ? "scheme" : "schemes");
}

std::string Headline(const Report& report) {
  const std::string name = report.model_name.empty() ? report.family : report.model_name;
  return fmt::format(
      "<header><div><h1>{}</h1><p>{}, stored as {}</p></div>{}</header>{}{}"
      "<dl class=\"tiles\">{}{}{}</dl>",
      EscapeHtml(name), EscapeHtml(SchemeSummary(report)), EscapeHtml(report.format),
      Verdict(report.gate), Lines(report.gate.missed, "bad"), Lines(report.warnings, "warn"),
      SizeTiles(report), AccuracyTiles(report), TimeTiles(report));
}

}  // namespace quantd
