#include "engine/report_page/stage_bar.h"

#include <fmt/format.h>

#include "engine/report_page/html.h"
#include "engine/report_page/number_text.h"

namespace quantd {

std::string StageBar(const Report& report) {
  double sum = 0;
  for (const auto& [stage, seconds] : report.seconds) sum += seconds;
  if (!(sum > 0)) return "";
  std::string segments, rows;
  size_t colour = 0;
  for (const auto& [stage, seconds] : report.seconds) {
    const double share = 100 * seconds / sum;
    const std::string name = EscapeHtml(NameOf(stage));
    if (share >= 0.05) {
      segments +=
          fmt::format("<span class=\"f{}\" style=\"flex-grow:{:.2f}\" title=\"{} {}\"></span>",
                      colour, share, name, SecondsText(seconds));
    }
    rows += fmt::format(
        "<tr><td><span class=\"dot f{}\"></span>{}</td><td>{}</td><td>{:.1f} %</td></tr>", colour,
        name, SecondsText(seconds), share);
    ++colour;
  }
  return fmt::format(
      "<figure><h2>Time per stage</h2><p>{} in all on {} ({}).</p><div class=\"stack\">{}</div>"
      "<table class=\"stages\"><tbody>{}</tbody></table></figure>",
      SecondsText(report.seconds_total), EscapeHtml(report.backend),
      EscapeHtml(report.isa.empty() ? report.compute : report.isa + ", " + report.compute),
      segments, rows);
}

}  // namespace quantd
