#include "engine/report_page/provenance.h"

#include <fmt/format.h>

#include "engine/report_page/page_text.h"

namespace quantd {
namespace {

std::string Fact(std::string_view name, const std::string& value) {
  return fmt::format("<dt>{}</dt><dd>{}</dd>", name, value);
}

std::string Digest(std::string_view digest) { return "<code>" + EscapeHtml(digest) + "</code>"; }

std::string Files(const Report& report) {
  std::string rows;
  for (const SealedFile& file : report.files) {
    rows += fmt::format("<tr><td class=\"n\">{}</td><td>{}</td><td class=\"n\">{}</td></tr>",
                        EscapeHtml(file.path), BytesText(file.bytes), EscapeHtml(file.sha256));
  }
  if (rows.empty()) return "";
  return fmt::format(
      "<details><summary>Files</summary><div class=\"scroll\"><table><thead><tr><th class=\"n\">"
      "path</th><th>size</th><th "
      "class=\"n\">sha256</th></tr></thead><tbody>{}</tbody></table></div>"
      "</details>",
      rows);
}

}  // namespace

std::string Provenance(const Report& report) {
  std::string facts =
      Fact("model", fmt::format("{}, {} parameters, {}", EscapeHtml(report.family),
                                GroupedText(report.parameters), Digest(report.model_fingerprint)));
  if (report.calibration_tokens > 0) {
    facts += Fact("calibration",
                  fmt::format("{} tokens, seed {}, {}", GroupedText(report.calibration_tokens),
                              report.calibration_seed, Digest(report.calibration_digest)));
  }
  if (report.evaluation.has_value()) {
    facts += Fact("evaluation", fmt::format("{} tokens, {}", GroupedText(report.evaluation->tokens),
                                            Digest(report.evaluation_digest)));
  }
  facts += Fact("machine",
                EscapeHtml(fmt::format("{}, {}, {}", report.backend, report.isa, report.compute)));
  facts += Fact("made by", EscapeHtml("quantd " + report.engine_version));
  return fmt::format(
      "<section><h2>How it was made</h2><dl class=\"facts\">{}</dl><details><summary>Recipe as "
      "asked</summary><pre>{}</pre></details>{}</section>",
      facts, EscapeHtml(DumpJsonPretty(ToJson(report.recipe))), Files(report));
}

}  // namespace quantd
