#include "proto/convert_options.h"

#include <cmath>
#include <variant>

#include "absl/strings/str_cat.h"

namespace quantd {
namespace {

// Up to here every whole number has a double of its own.
constexpr double kLargestInteger = 9007199254740992.0;  // 2^53

constexpr char kWanted[] = "a boolean, a number or a text";

OptionValue NumberOf(double number) {
  const bool whole = std::floor(number) == number && std::abs(number) <= kLargestInteger;
  return whole ? OptionValue(static_cast<int64_t>(number)) : OptionValue(number);
}

}  // namespace

Options FromProto(const OptionMap& options, FieldChecks& checks) {
  Options read;
  for (const auto& [name, value] : options) {
    const std::string field = absl::StrCat("options.", name.substr(0, 80));
    switch (value.kind_case()) {
      case google::protobuf::Value::kBoolValue:
        read.Set(name, value.bool_value());
        break;
      case google::protobuf::Value::kNumberValue:
        if (std::isfinite(value.number_value())) {
          read.Set(name, NumberOf(value.number_value()));
        } else {
          checks.Wrong(field, absl::StrCat(value.number_value()), kWanted);
        }
        break;
      case google::protobuf::Value::kStringValue:
        read.Set(name, value.string_value());
        break;
      case google::protobuf::Value::kNullValue:
        checks.Wrong(field, "null", kWanted);
        break;
      case google::protobuf::Value::kStructValue:
        checks.Wrong(field, "an object", kWanted);
        break;
      case google::protobuf::Value::kListValue:
        checks.Wrong(field, "a list", kWanted);
        break;
      case google::protobuf::Value::KIND_NOT_SET:
        checks.Wrong(field, "nothing", kWanted);
        break;
    }
  }
  return read;
}

google::protobuf::Value ToProto(const OptionValue& value) {
  google::protobuf::Value message;
  if (const auto* flag = std::get_if<bool>(&value)) {
    message.set_bool_value(*flag);
  } else if (const auto* integer = std::get_if<int64_t>(&value)) {
    message.set_number_value(static_cast<double>(*integer));
  } else if (const auto* number = std::get_if<double>(&value)) {
    message.set_number_value(*number);
  } else {
    message.set_string_value(std::get<std::string>(value));
  }
  return message;
}

OptionMap ToProto(const Options& options) {
  OptionMap map;
  for (const auto& [name, value] : options.values()) map[name] = ToProto(value);
  return map;
}

}  // namespace quantd
