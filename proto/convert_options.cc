#include "proto/convert_options.h"

#include <string>
#include <vector>

namespace quantd {

using google::protobuf::FieldDescriptor;

Options FromProto(const v1::MethodOptions& message) {
  Options options;
  const auto& reflection = *message.GetReflection();
  std::vector<const FieldDescriptor*> fields;
  reflection.ListFields(message, &fields);
  for (const FieldDescriptor* field : fields) {
    switch (field->cpp_type()) {
      case FieldDescriptor::CPPTYPE_BOOL:
        options.Set(field->name(), reflection.GetBool(message, field));
        break;
      case FieldDescriptor::CPPTYPE_INT64:
        options.Set(field->name(), int64_t{reflection.GetInt64(message, field)});
        break;
      case FieldDescriptor::CPPTYPE_DOUBLE:
        options.Set(field->name(), reflection.GetDouble(message, field));
        break;
      case FieldDescriptor::CPPTYPE_STRING:
        options.Set(field->name(), reflection.GetString(message, field));
        break;
      default:
        break;
    }
  }
  return options;
}

v1::MethodOptions ToProto(const Options& options) {
  v1::MethodOptions message;
  const auto& reflection = *message.GetReflection();
  for (const auto& [name, value] : options.values()) {
    const FieldDescriptor* field = v1::MethodOptions::descriptor()->FindFieldByName(name);
    if (field == nullptr) continue;
    switch (field->cpp_type()) {
      case FieldDescriptor::CPPTYPE_BOOL:
        reflection.SetBool(&message, field, options.Flag(name));
        break;
      case FieldDescriptor::CPPTYPE_INT64:
        reflection.SetInt64(&message, field, options.Integer(name));
        break;
      case FieldDescriptor::CPPTYPE_DOUBLE:
        reflection.SetDouble(&message, field, options.Number(name));
        break;
      case FieldDescriptor::CPPTYPE_STRING:
        reflection.SetString(&message, field, options.Text(name));
        break;
      default:
        break;
    }
  }
  return message;
}

}  // namespace quantd
