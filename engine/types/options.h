// Options of one method beyond what every scheme has, by name: {"damping", 0.01}. Which there are,
// of what type and range, is said by the method's own rows (engine/method/option_row.h).
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <variant>

#include "base/json.h"

namespace quantd {

using OptionValue = std::variant<bool, int64_t, double, std::string>;

class Options {
 public:
  using Map = std::map<std::string, OptionValue, std::less<>>;

  void Set(std::string_view name, OptionValue value) {
    values_.insert_or_assign(std::string(name), std::move(value));
  }
  // Takes over every value of `over`.
  void Update(const Options& over) {
    for (const auto& [name, value] : over.values_) values_.insert_or_assign(name, value);
  }
  const Map& values() const { return values_; }
  bool empty() const { return values_.empty(); }

  // The value of a resolved scheme: there, and of the type that the method's row names. Zero, false
  // or "" for one that is not there.
  bool Flag(std::string_view name) const;
  int64_t Integer(std::string_view name) const;
  double Number(std::string_view name) const;
  std::string Text(std::string_view name) const;

  bool operator==(const Options&) const = default;

 private:
  Map values_;
};

Json ToJson(const OptionValue& value);
Json ToJson(const Options& options);
// "0.05", "true", "static": as people read it.
std::string ToText(const OptionValue& value);
// Values that are not a boolean, a number or a text are reported to `fields` under "options".
Options OptionsFromJson(JsonFields& fields);

}  // namespace quantd
