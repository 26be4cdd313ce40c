// What a method can be told: one row per option, from which requests are checked and help, docs and
// GetCapabilities are made.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/types/options.h"

namespace quantd {

// A field of every scheme ("bits", "scale_rule") as this method takes it, or an option of its own.
struct OptionRow {
  std::string_view name;      // "scale_rule"
  std::string_view type;      // "enum", "int", "bool", "float"
  std::string_view fallback;  // default, as text
  std::string_view values;    // "LOW..HIGH" for numbers, a list for enums: checked for own options
  std::string_view help;
};

// The rows of several tables in one: methods that share options share their rows.
template <size_t... counts>
constexpr auto JoinRows(const std::array<OptionRow, counts>&... tables) {
  std::array<OptionRow, (counts + ...)> all = {};
  auto end = all.begin();
  ((end = std::copy(tables.begin(), tables.end(), end)), ...);
  return all;
}

// The fallbacks of the method's own options: of every row that is no field of all schemes.
Options FallbacksOf(std::span<const OptionRow> rows);
// What a row says, as values: its default; the ends of its range, nothing for a list or words; its
// choices, none unless it is an enum.
OptionValue FallbackOf(const OptionRow& row);
std::optional<std::pair<double, double>> RangeOf(const OptionRow& row);
std::vector<std::string> ChoicesOf(const OptionRow& row);
// `value` as the row's type; INVALID_FIELD with got and wanted. An integer is good for a float.
absl::StatusOr<OptionValue> CheckOption(const OptionRow& row, const OptionValue& value);
// The row of that name, or nullptr.
const OptionRow* FindOption(std::span<const OptionRow> rows, std::string_view name);

}  // namespace quantd
