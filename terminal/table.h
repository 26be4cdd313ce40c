// Tables of plain text: columns as wide as they need to be, or as the terminal lets them be, two
// spaces between them, a line under the head.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "engine/types/report.h"

namespace quantd {

enum class Align { kLeft, kRight };

struct Column {
  std::string title;
  Align align = Align::kLeft;
};

// Thread-compatible.
class Table {
 public:
  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}

  // Missing cells are empty; cells beyond the last column are dropped. Control characters are shown
  // as '?': text from elsewhere cannot move the cursor.
  void Add(std::vector<std::string> cells);
  bool empty() const { return rows_.empty(); }

  // Every line ends in a newline and has no spaces before it. At most `columns` wide if that can be
  // done: the widest columns of text give way, and what does not fit goes on below. 0: as wide as
  // needed.
  std::string Text(int columns = 0) const;

 private:
  std::vector<size_t> Widths(int columns) const;

  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

struct ResultRow {
  std::string scheme;  // for example DescribeSchemes(report)
  Report report;
};

// The table that ends a quantization: scheme, bits per weight, size, perplexity original ->
// quantized, mean KL, top-1 agreement, seconds. "-" stands for what was not evaluated.
std::string ResultTable(std::span<const ResultRow> rows);

// What was done to most linears, "rtn int4 g128 sym mse", with " +N others" when N quantized
// linears got another scheme.
std::string DescribeSchemes(const Report& report);

// `text` with every control character replaced by '?', and at most `columns` characters: the
// beginning is cut, since the end of a module name says more.
std::string Printable(std::string_view text);
std::string KeepEnd(std::string_view text, size_t columns);

}  // namespace quantd
