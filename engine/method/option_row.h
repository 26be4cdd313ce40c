// What a method can be told: one row per option, from which requests are checked and help, docs and
// GetCapabilities are made.
#pragma once

#include <span>
#include <string_view>

#include "absl/status/statusor.h"
#include "engine/options.h"

namespace quantd {

// A field of every scheme ("bits", "scale_rule") as this method takes it, or an option of its own.
struct OptionRow {
  std::string_view name;      // "scale_rule"
  std::string_view type;      // "enum", "int", "bool", "float"
  std::string_view fallback;  // default, as text
  std::string_view values;    // "LOW..HIGH" for numbers, a list for enums: checked for own options
  std::string_view help;
};

// Whether the row is one of the fields that every scheme has, which are checked elsewhere.
bool IsSchemeField(std::string_view name);

// The fallback of an own option.
OptionValue FallbackOf(const OptionRow& row);
// `value` as the row's type; INVALID_FIELD with got and wanted. An integer is good for a float.
absl::StatusOr<OptionValue> CheckOption(const OptionRow& row, const OptionValue& value);
// The row of that name, or nullptr.
const OptionRow* FindOption(std::span<const OptionRow> rows, std::string_view name);

}  // namespace quantd
