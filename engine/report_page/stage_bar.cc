#include "engine/report_page/stage_bar.h"

#include <fmt/format.h>

#include "engine/report_page/page_text.h"

namespace quantd {

Figure StageBar(const Report& report) {
  double sum = 0;
  for (const auto& [stage, seconds] : report.seconds) sum += seconds;
  const std::string machine =
      report.isa.empty() ? report.compute : report.isa + ", " + report.compute;
  Figure figure{.title = "Time per stage",
                .caption = fmt::format("{} in all on {} ({}).", SecondsText(report.seconds_total),
                                       EscapeHtml(report.backend), EscapeHtml(machine)),
                .content = ""};
  if (!(sum > 0)) return figure;
  std::string segments, items;
  size_t colour = 0;
  for (const auto& [stage, seconds] : report.seconds) {
    const double share = 100 * seconds / sum;
    const std::string name = EscapeHtml(NameOf(stage));
    if (share >= 0.05) {
      segments +=
          fmt::format("<span class=\"f{}\" style=\"flex-grow:{:.2f}\" title=\"{} {}\"></span>",
                      colour, share, name, SecondsText(seconds));
    }
    items += fmt::format("<li><span class=\"dot f{}\"></span>{} <b>{}</b> {:.1f} %</li>", colour,
                         name, SecondsText(seconds), share);
    ++colour;
  }
  figure.content =
      fmt::format("<div class=\"stack\">{}</div><ul class=\"stages\">{}</ul>", segments, items);
  return figure;
}

}  // namespace quantd
