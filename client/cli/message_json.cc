#include "client/cli/message_json.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/util/json_util.h>

#include <charconv>
#include <string>

#include "base/error.h"

namespace quantd {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;

void NumbersIn(Json& json, const FieldDescriptor& field);

void NumbersIn(Json& json, const Descriptor& type) {
  // Timestamps and durations are strings in JSON.
  if (!json.is_object()) return;
  for (int i = 0; i < type.field_count(); ++i) {
    const FieldDescriptor& field = *type.field(i);
    const auto found = json.find(field.name());
    if (found != json.end()) NumbersIn(*found, field);
  }
}

template <typename Integer>
void ReadNumber(Json& json) {
  if (!json.is_string()) return;
  const std::string text = json.get<std::string>();
  Integer value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error == std::errc() && end == text.data() + text.size()) json = value;
}

void NumbersIn(Json& json, const FieldDescriptor& field) {
  if (json.is_array()) {
    for (Json& element : json) NumbersIn(element, field);
    return;
  }
  if (field.is_map()) {
    for (auto& entry : json.items()) {
      NumbersIn(entry.value(), *field.message_type()->map_value());
    }
    return;
  }
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_MESSAGE:
      NumbersIn(json, *field.message_type());
      break;
    case FieldDescriptor::CPPTYPE_INT64:
      ReadNumber<int64_t>(json);
      break;
    case FieldDescriptor::CPPTYPE_UINT64:
      ReadNumber<uint64_t>(json);
      break;
    default:
      break;
  }
}

}  // namespace

absl::StatusOr<Json> MessageJson(const google::protobuf::Message& message) {
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  options.always_print_primitive_fields = true;
  std::string text;
  const auto status = google::protobuf::util::MessageToJsonString(message, &text, options);
  if (!status.ok()) return MakeError(Reason::kInternal, "a message cannot be written as JSON");
  QD_ASSIGN_OR_RETURN(Json json, ParseJson(text, "message"));
  NumbersIn(json, *message.GetDescriptor());
  return json;
}

}  // namespace quantd
