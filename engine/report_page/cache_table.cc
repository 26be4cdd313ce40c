#include "engine/report_page/cache_table.h"

#include <fmt/format.h>

#include "engine/report_page/page_text.h"

namespace quantd {

std::string CacheTable(const Report& report) {
  if (report.cache.empty()) return "";
  std::string rows;
  for (const CacheReport& entry : report.cache) {
    rows += fmt::format(
        "<tr><td class=\"n\">{}</td><td>{:.4g}</td><td>{:.1f}</td><td>{:.4g}</td><td>{:.1f}</td>"
        "</tr>\n",
        EscapeHtml(entry.name), entry.scales.key, entry.key_spread, entry.scales.value,
        entry.value_spread);
  }
  return fmt::format(
      "<section><h2>Cache of keys and values</h2><p>Kept as E4M3 times one scale per block. "
      "Spread: "
      "the greatest magnitude over the median of the channels' greatest; 1 where all channels are "
      "alike.</p><div class=\"scroll\"><table id=\"cache\"><thead><tr><th class=\"n\">attention"
      "</th><th>key scale</th><th>key spread</th><th>value scale</th><th>value spread</th></tr>"
      "</thead><tbody>{}</tbody></table></div></section>",
      rows);
}

}  // namespace quantd
