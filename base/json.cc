#include "base/json.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error.h"

namespace quantd {
namespace {

constexpr int kMaxDepth = 64;

std::string Shown(const Json& value) {
  std::string text = DumpJson(value);
  if (text.size() > 80) text = text.substr(0, 77) + "...";
  return text;
}

}  // namespace

absl::StatusOr<Json> ParseJson(std::string_view text, std::string_view what) {
  std::string problem;
  // The parser takes a NUL byte for the end of the text, and would let anything follow it.
  if (text.find('\0') != std::string_view::npos) problem = "a NUL byte";
  std::vector<std::set<std::string>> keys;
  const auto watch = [&](int depth, Json::parse_event_t event, Json& parsed) {
    using Event = Json::parse_event_t;
    if (depth > kMaxDepth && problem.empty()) problem = "nested deeper than 64 levels";
    if (event == Event::object_start) keys.emplace_back();
    if (event == Event::object_end && !keys.empty()) keys.pop_back();
    if (event == Event::key && !keys.empty()) {
      const auto& key = parsed.get_ref<const std::string&>();
      if (!keys.back().insert(key).second && problem.empty()) problem = "key appears twice: " + key;
    }
    return problem.empty();
  };
  Json value = Json::parse(text.begin(), text.end(), watch, /*allow_exceptions=*/false);
  if (!problem.empty() || value.is_discarded()) {
    return MakeError(Reason::kModelCorrupt, "not valid JSON",
                     Violation{.where = std::string(what),
                               .got = problem.empty() ? "a syntax error" : problem,
                               .wanted = "well-formed JSON"});
  }
  return value;
}

std::string DumpJson(const Json& value) {
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string DumpJsonPretty(const Json& value) {
  return value.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
}

JsonFields::JsonFields(const Json& object, std::string_view path) : object_(object), path_(path) {
  if (!object_.is_object()) {
    violations_.push_back({.where = path_, .got = Shown(object_), .wanted = "an object"});
  }
}

bool JsonFields::Has(std::string_view key) const {
  return object_.is_object() && object_.contains(std::string(key));
}

const Json* JsonFields::Value(std::string_view key) {
  known_.emplace_back(key);
  if (!Has(key)) return nullptr;
  const Json& value = object_.at(std::string(key));
  return value.is_null() ? nullptr : &value;
}

void JsonFields::Wrong(std::string_view key, std::string_view got, std::string_view wanted) {
  violations_.push_back({.where = path_.empty() ? std::string(key) : path_ + "." + std::string(key),
                         .got = std::string(got),
                         .wanted = std::string(wanted)});
}

int64_t JsonFields::Integer(std::string_view key, int64_t fallback, int64_t low, int64_t high) {
  const Json* value = Value(key);
  if (value == nullptr) return fallback;
  const std::string wanted = absl::StrCat("an integer from ", low, " to ", high);
  const bool too_large =
      value->is_number_unsigned() && value->get<uint64_t>() > static_cast<uint64_t>(INT64_MAX);
  if (!value->is_number_integer() || too_large) {
    Wrong(key, Shown(*value), wanted);
    return fallback;
  }
  const auto number = value->get<int64_t>();
  if (number < low || number > high) {
    Wrong(key, Shown(*value), wanted);
    return fallback;
  }
  return number;
}

double JsonFields::Number(std::string_view key, double fallback, double low, double high) {
  const Json* value = Value(key);
  if (value == nullptr) return fallback;
  const std::string wanted = absl::StrCat("a number from ", low, " to ", high);
  const double number = value->is_number() ? value->get<double>() : 0.0;
  if (!value->is_number() || !(number >= low && number <= high)) {
    Wrong(key, Shown(*value), wanted);
    return fallback;
  }
  return number;
}

bool JsonFields::Bool(std::string_view key, bool fallback) {
  const Json* value = Value(key);
  if (value == nullptr) return fallback;
  if (!value->is_boolean()) {
    Wrong(key, Shown(*value), "true or false");
    return fallback;
  }
  return value->get<bool>();
}

std::string JsonFields::String(std::string_view key, std::string_view fallback) {
  const Json* value = Value(key);
  if (value == nullptr) return std::string(fallback);
  if (!value->is_string()) {
    Wrong(key, Shown(*value), "a string");
    return std::string(fallback);
  }
  return value->get<std::string>();
}

std::vector<std::string> JsonFields::Strings(std::string_view key) {
  const Json* value = Value(key);
  std::vector<std::string> strings;
  if (value == nullptr) return strings;
  const bool all_strings =
      value->is_array() && std::all_of(value->begin(), value->end(),
                                       [](const Json& entry) { return entry.is_string(); });
  if (!all_strings) {
    Wrong(key, Shown(*value), "a list of strings");
    return strings;
  }
  for (const Json& entry : *value) strings.push_back(entry.get<std::string>());
  return strings;
}

absl::Status JsonFields::Finish() { return Result(true); }

absl::Status JsonFields::FinishIgnoringUnknown() { return Result(false); }

absl::Status JsonFields::Result(bool refuse_unknown) {
  bool unknown = false;
  if (refuse_unknown && object_.is_object()) {
    for (const auto& [key, value] : object_.items()) {
      if (std::find(known_.begin(), known_.end(), key) != known_.end()) continue;
      std::string wanted = "one of";
      for (const std::string& name : known_) wanted += (name == known_.front() ? " " : ", ") + name;
      Wrong(key, "an unknown key", wanted);
      unknown = true;
    }
  }
  if (violations_.empty()) return absl::OkStatus();
  const Reason reason =
      unknown && violations_.size() == 1 ? Reason::kUnknownField : Reason::kInvalidField;
  return MakeError(reason, "refused", std::move(violations_));
}

}  // namespace quantd
