#include "engine/method/option_row.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/error.h"
#include "engine/types/recipe.h"

namespace quantd {
namespace {

absl::Status Wrong(const OptionRow& row, const OptionValue& value) {
  return MakeError(Reason::kInvalidField, "refused",
                   Violation{.where = "options." + std::string(row.name),
                             .got = ToText(value),
                             .wanted = std::string(row.values)});
}

bool InRange(const OptionRow& row, double value) {
  const auto range = RangeOf(row);
  return !range.has_value() || (value >= range->first && value <= range->second);
}

}  // namespace

OptionValue FallbackOf(const OptionRow& row) {
  std::string text(row.fallback);
  if (row.type == "bool") return text == "true";
  int64_t integer = 0;
  double number = 0;
  if (row.type == "int" && absl::SimpleAtoi(text, &integer)) return integer;
  if (row.type == "float" && absl::SimpleAtod(text, &number)) return number;
  return text;
}

std::optional<std::pair<double, double>> RangeOf(const OptionRow& row) {
  const std::vector<std::string> ends = absl::StrSplit(std::string(row.values), "..");
  std::pair<double, double> range;
  if (ends.size() != 2 || !absl::SimpleAtod(ends[0], &range.first) ||
      !absl::SimpleAtod(ends[1], &range.second)) {
    return std::nullopt;
  }
  return range;
}

std::vector<std::string> ChoicesOf(const OptionRow& row) {
  if (row.type != "enum") return {};
  return absl::StrSplit(std::string(row.values), ", ");
}

Options FallbacksOf(std::span<const OptionRow> rows) {
  Options options;
  for (const OptionRow& row : rows) {
    if (!IsSchemeField(row.name)) options.Set(row.name, FallbackOf(row));
  }
  return options;
}

absl::StatusOr<OptionValue> CheckOption(const OptionRow& row, const OptionValue& value) {
  if (row.type == "bool") {
    if (std::holds_alternative<bool>(value)) return value;
  } else if (row.type == "int") {
    const auto* integer = std::get_if<int64_t>(&value);
    if (integer != nullptr && InRange(row, static_cast<double>(*integer))) return value;
  } else if (row.type == "float") {
    const auto* integer = std::get_if<int64_t>(&value);
    const auto* number = std::get_if<double>(&value);
    if (integer == nullptr && number == nullptr) return Wrong(row, value);
    const double wide = integer != nullptr ? static_cast<double>(*integer) : *number;
    if (InRange(row, wide)) return OptionValue(wide);
  } else {
    const std::vector<std::string> names = ChoicesOf(row);
    const std::string text = ToText(value);
    if (std::find(names.begin(), names.end(), text) != names.end()) return OptionValue(text);
  }
  return Wrong(row, value);
}

const OptionRow* FindOption(std::span<const OptionRow> rows, std::string_view name) {
  for (const OptionRow& row : rows) {
    if (row.name == name) return &row;
  }
  return nullptr;
}

}  // namespace quantd
