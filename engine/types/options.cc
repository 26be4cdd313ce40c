#include "engine/types/options.h"

#include "absl/strings/str_cat.h"

namespace quantd {
namespace {

template <typename T>
T ValueOr(const Options::Map& values, std::string_view name, T fallback) {
  const auto found = values.find(name);
  if (found == values.end()) return fallback;
  const T* value = std::get_if<T>(&found->second);
  return value == nullptr ? fallback : *value;
}

}  // namespace

bool Options::Flag(std::string_view name) const { return ValueOr(values_, name, false); }
int64_t Options::Integer(std::string_view name) const { return ValueOr(values_, name, int64_t{0}); }
double Options::Number(std::string_view name) const {
  const auto found = values_.find(name);
  if (found == values_.end()) return 0;
  if (const auto* integer = std::get_if<int64_t>(&found->second)) {
    return static_cast<double>(*integer);
  }
  return ValueOr(values_, name, 0.0);
}
std::string Options::Text(std::string_view name) const {
  return ValueOr(values_, name, std::string());
}

Json ToJson(const OptionValue& value) {
  return std::visit([](const auto& held) { return Json(held); }, value);
}

Json ToJson(const Options& options) {
  Json json = Json::object();
  for (const auto& [name, value] : options.values()) json[name] = ToJson(value);
  return json;
}

std::string ToText(const OptionValue& value) {
  if (const auto* text = std::get_if<std::string>(&value)) return *text;
  return DumpJson(ToJson(value));
}

Options OptionsFromJson(JsonFields& fields) {
  Options options;
  const Json* object = fields.Value("options");
  if (object == nullptr) return options;
  if (!object->is_object()) {
    fields.Wrong("options", DumpJson(*object), "an object of option names and values");
    return options;
  }
  for (const auto& [name, value] : object->items()) {
    if (value.is_boolean()) {
      options.Set(name, value.get<bool>());
    } else if (value.is_number_integer()) {
      options.Set(name, value.get<int64_t>());
    } else if (value.is_number()) {
      options.Set(name, value.get<double>());
    } else if (value.is_string()) {
      options.Set(name, value.get<std::string>());
    } else {
      fields.Wrong("options." + name, DumpJson(value), "a boolean, a number or a text");
    }
  }
  return options;
}

}  // namespace quantd
