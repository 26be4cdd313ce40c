#include "engine/report_page/figure.h"

#include <fmt/format.h>

namespace quantd {

std::string ArrangeFigures(std::vector<Figure> figures) {
  std::erase_if(figures, [](const Figure& figure) { return figure.content.empty(); });
  Figure* alone = nullptr;  // the left half of a row that is not full yet
  for (Figure& figure : figures) {
    if (figure.width == FigureWidth::kHalf) {
      alone = alone == nullptr ? &figure : nullptr;
    } else if (alone != nullptr) {
      alone->width = FigureWidth::kWhole;
      alone = nullptr;
    }
  }
  if (alone != nullptr) alone->width = FigureWidth::kWhole;
  std::string html;
  for (const Figure& figure : figures) {
    html += fmt::format("<figure{}><h2>{}</h2><p>{}</p>{}</figure>\n",
                        figure.width == FigureWidth::kWhole ? " class=\"wide\"" : "", figure.title,
                        figure.caption, figure.content);
  }
  return html.empty() ? "" : "<div class=\"plots\">" + html + "</div>";
}

}  // namespace quantd
