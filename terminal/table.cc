#include "terminal/table.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <map>
#include <numeric>
#include <optional>
#include <string_view>
#include <utility>

#include "terminal/figures.h"

namespace quantd {
namespace {

constexpr size_t kGap = 2;        // spaces between columns
constexpr size_t kNarrowest = 8;  // a column that has to give way stays this wide

// Characters, not bytes: continuation bytes of UTF-8 take no column.
size_t Columns(std::string_view text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  }));
}

// How many bytes the first `columns` characters of `text` take.
size_t BytesOf(std::string_view text, size_t columns) {
  size_t at = 0;
  for (size_t seen = 0; at < text.size(); ++at) {
    if ((static_cast<unsigned char>(text[at]) & 0xC0) != 0x80 && seen++ == columns) break;
  }
  return at;
}

// `text` in lines of at most `width` characters, broken at spaces where there are any.
std::vector<std::string> Wrap(std::string_view text, size_t width) {
  std::vector<std::string> lines;
  while (width > 0 && Columns(text) > width) {
    const size_t room = BytesOf(text, width);
    const size_t space = text.rfind(' ', room);
    const bool at_space = space != std::string_view::npos && space > 0;
    lines.emplace_back(text.substr(0, at_space ? space : room));
    text.remove_prefix(at_space ? space + 1 : room);
  }
  lines.emplace_back(text);
  return lines;
}

void AppendCell(std::string& line, std::string_view cell, size_t width, Align align) {
  const size_t columns = Columns(cell);
  const std::string padding(width - std::min(columns, width), ' ');
  if (align == Align::kRight) line += padding;
  line += cell;
  if (align == Align::kLeft) line += padding;
}

void EndLine(std::string& text) {
  while (!text.empty() && text.back() == ' ') text.pop_back();
  text += '\n';
}

template <typename Enum, size_t kCount>
Enum ByName(const std::array<Enum, kCount>& values, std::string_view name, Enum fallback) {
  const auto found =
      std::find_if(values.begin(), values.end(), [&](Enum value) { return NameOf(value) == name; });
  return found == values.end() ? fallback : *found;
}

// One entry of Report::resolved_recipe; nothing for a linear that was skipped, or an entry of
// another shape.
std::optional<Scheme> SchemeOfEntry(const Json& entry) {
  if (!entry.is_object() || entry.contains("skip")) return std::nullopt;
  const auto text = [&](const char* key) -> std::string {
    const auto found = entry.find(key);
    return found != entry.end() && found->is_string() ? found->get<std::string>() : "";
  };
  const auto number = [&](const char* key) -> int64_t {
    const auto found = entry.find(key);
    return found != entry.end() && found->is_number_integer() ? found->get<int64_t>() : 0;
  };
  Scheme scheme;
  scheme.method = text("method");
  scheme.bits = static_cast<int>(number("bits"));
  scheme.group_size = number("group_size");
  scheme.symmetric = !entry.contains("symmetric") || entry["symmetric"] != false;
  scheme.granularity =
      ByName(std::array{Granularity::kTensor, Granularity::kChannel, Granularity::kGroup},
             text("granularity"), Granularity::kChannel);
  scheme.scale_rule = ByName(
      std::array{ScaleRule::kAbsmax, ScaleRule::kMse, ScaleRule::kWeightedMse, ScaleRule::kHessian},
      text("scale_rule"), ScaleRule::kAbsmax);
  scheme.activations = ByName(std::array{ActivationScheme::kNone, ActivationScheme::kDynamicToken,
                                         ActivationScheme::kStatic},
                              text("activations"), ActivationScheme::kNone);
  scheme.real_zero = entry.contains("real_zero") && entry["real_zero"] == true;
  return scheme;
}

}  // namespace

std::string Printable(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (std::iscntrl(static_cast<unsigned char>(c)) != 0) c = '?';
  }
  return out;
}

std::string KeepEnd(std::string_view text, size_t columns) {
  if (Columns(text) <= columns) return std::string(text);
  if (columns <= 1) return std::string(columns, '.');
  const size_t wanted = columns - 1;
  size_t start = text.size(), kept = 0;
  while (start > 0 && kept < wanted) {
    --start;
    if ((static_cast<unsigned char>(text[start]) & 0xC0) != 0x80) ++kept;
  }
  return "…" + std::string(text.substr(start));
}

void Table::Add(std::vector<std::string> cells) {
  cells.resize(columns_.size());
  for (std::string& cell : cells) cell = Printable(cell);
  rows_.push_back(std::move(cells));
}

std::vector<size_t> Table::Widths(int columns) const {
  std::vector<size_t> widths;
  size_t total = kGap * (columns_.size() - 1);
  for (size_t i = 0; i < columns_.size(); ++i) {
    size_t width = Columns(columns_[i].title);
    for (const auto& row : rows_) width = std::max(width, Columns(row[i]));
    widths.push_back(width);
    total += width;
  }
  // Figures stay whole: only text gives way.
  const auto narrower = [&](size_t a, size_t b) {
    const auto room = [&](size_t i) {
      return columns_[i].align == Align::kRight || widths[i] <= kNarrowest ? 0 : widths[i];
    };
    return room(a) < room(b);
  };
  std::vector<size_t> order(widths.size());
  std::iota(order.begin(), order.end(), size_t{0});
  for (; columns > 0 && total > static_cast<size_t>(columns); --total) {
    const size_t widest = *std::max_element(order.begin(), order.end(), narrower);
    if (columns_[widest].align == Align::kRight || widths[widest] <= kNarrowest) break;
    --widths[widest];
  }
  return widths;
}

std::string Table::Text(int columns) const {
  const std::vector<size_t> widths = Widths(columns);
  std::string text;
  const auto add = [&](const auto& cell_of) {
    std::vector<std::vector<std::string>> cells;
    size_t lines = 1;
    for (size_t i = 0; i < columns_.size(); ++i) {
      cells.push_back(Wrap(cell_of(i), widths[i]));
      lines = std::max(lines, cells.back().size());
    }
    for (size_t line = 0; line < lines; ++line) {
      for (size_t i = 0; i < columns_.size(); ++i) {
        if (i > 0) text.append(kGap, ' ');
        // Not "": that would make a string of both, gone before it is read.
        const std::string_view cell =
            line < cells[i].size() ? std::string_view(cells[i][line]) : std::string_view();
        AppendCell(text, cell, widths[i], columns_[i].align);
      }
      EndLine(text);
    }
  };
  add([&](size_t i) -> std::string { return columns_[i].title; });
  add([&](size_t i) { return std::string(widths[i], '-'); });
  for (const auto& row : rows_) add([&](size_t i) -> std::string { return row[i]; });
  return text;
}

std::string ResultTable(std::span<const ResultRow> rows) {
  Table table({{.title = "scheme"},
               {.title = "bits/weight", .align = Align::kRight},
               {.title = "size", .align = Align::kRight},
               {.title = "perplexity", .align = Align::kRight},
               {.title = "mean KL", .align = Align::kRight},
               {.title = "top-1", .align = Align::kRight},
               {.title = "seconds", .align = Align::kRight}});
  for (const ResultRow& row : rows) {
    const Report& report = row.report;
    std::string perplexity = "-", divergence = "-", top1 = "-";
    if (report.evaluation.has_value()) {
      perplexity = fmt::format("{:.4g} -> {:.4g}", report.evaluation->perplexity_original,
                               report.evaluation->perplexity_quantized);
      divergence = fmt::format("{:.5f}", report.evaluation->kl_mean);
      top1 = fmt::format("{:.2f} %", 100 * report.evaluation->top1_agreement);
    }
    table.Add({row.scheme, fmt::format("{:.3f}", report.bits_per_weight),
               HumanBytes(report.bytes_original) + " -> " + HumanBytes(report.bytes_quantized),
               perplexity, divergence, top1, fmt::format("{:.2f}", report.seconds_total)});
  }
  return table.Text();
}

std::string DescribeSchemes(const Report& report) {
  std::map<std::string, int64_t> counts;
  int64_t linears = 0;
  for (const Json& entry : report.resolved_recipe) {
    if (const auto scheme = SchemeOfEntry(entry)) {
      ++counts[Describe(*scheme)];
      ++linears;
    }
  }
  if (counts.empty()) return "16 bit";
  const auto most =
      std::max_element(counts.begin(), counts.end(),
                       [](const auto& a, const auto& b) { return a.second < b.second; });
  if (most->second == linears) return most->first;
  return fmt::format("{} +{} others", most->first, linears - most->second);
}

}  // namespace quantd
