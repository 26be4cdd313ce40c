#include "engine/report_page/page_text.h"

#include <fmt/format.h>

#include <array>
#include <cmath>

namespace quantd {

std::string EscapeHtml(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        if ((static_cast<unsigned char>(c) < 0x20 && c != '\n') || c == 0x7F) {
          out += "\xEF\xBF\xBD";
        } else {
          out += c;
        }
    }
  }
  return out;
}

std::string SchemeText(const LayerReport& layer) {
  const bool integers = !layer.activations.empty() && layer.activations != "none";
  std::string text = fmt::format("{} {}{}", layer.method, integers ? "w" : "int", layer.bits);
  if (integers) text += "a8";
  if (layer.activations == "static") text += " static";
  if (layer.group_size > 0) {
    text += fmt::format(" g{}", layer.group_size);
  } else {
    text += " " + (layer.granularity.empty() ? "channel" : layer.granularity);
  }
  return text + (layer.symmetric ? " sym " : " asym ") + layer.scale_rule;
}

std::string GroupedText(int64_t value) {
  std::string digits = fmt::format("{}", value);
  const size_t first = digits.front() == '-' ? 1 : 0;
  for (size_t at = digits.size(); at > first + 3;) {
    at -= 3;
    digits.insert(at, 1, ',');
  }
  return digits;
}

std::string CountText(int64_t count) {
  const auto value = static_cast<double>(count);
  if (value < 1e6) return GroupedText(count);
  return value < 1e9 ? fmt::format("{:.3g} million", value / 1e6)
                     : fmt::format("{:.4g} billion", value / 1e9);
}

std::string BytesText(int64_t bytes) {
  static constexpr std::array<std::string_view, 6> kUnits = {"kB", "MB", "GB", "TB", "PB", "EB"};
  if (bytes < 1000) return fmt::format("{} B", bytes);
  double value = static_cast<double>(bytes) / 1000;
  size_t unit = 0;
  // 999.5 would be written as 1000: it belongs to the next unit.
  for (; value >= 999.5 && unit + 1 < kUnits.size(); ++unit) value /= 1000;
  const int decimals = value < 9.995 ? 2 : value < 99.95 ? 1 : 0;
  return fmt::format("{:.{}f} {}", value, decimals, kUnits[unit]);
}

std::string SecondsText(double seconds) {
  if (!(seconds >= 9.995)) return fmt::format("{:.2f} s", seconds);
  if (seconds < 99.95) return fmt::format("{:.1f} s", seconds);
  const auto whole = std::llround(seconds);
  if (whole < 3600) return fmt::format("{} min {:02} s", whole / 60, whole % 60);
  return fmt::format("{} h {:02} min", whole / 3600, whole / 60 % 60);
}

std::string FigureText(double value) { return fmt::format("{:.4g}", value); }

}  // namespace quantd
