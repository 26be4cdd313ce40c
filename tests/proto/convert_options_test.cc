#include "proto/convert_options.h"

#include <map>
#include <set>
#include <string>

#include "engine/method/registry.h"
#include "gtest/gtest.h"

namespace quantd {
namespace {

using google::protobuf::FieldDescriptor;

const std::map<std::string_view, FieldDescriptor::CppType> kTypes = {
    {"bool", FieldDescriptor::CPPTYPE_BOOL},
    {"int", FieldDescriptor::CPPTYPE_INT64},
    {"float", FieldDescriptor::CPPTYPE_DOUBLE},
    {"enum", FieldDescriptor::CPPTYPE_STRING}};

TEST(MethodOptions, HaveAFieldForEveryOptionOfEveryMethodAndNoOther) {
  std::set<std::string> named;
  for (const Method& method : Methods()) {
    for (const OptionRow& row : method.options) {
      if (IsSchemeField(row.name)) continue;
      const std::string name(row.name);
      named.insert(name);
      const FieldDescriptor* field = v1::MethodOptions::descriptor()->FindFieldByName(name);
      ASSERT_NE(field, nullptr) << method.name << ": " << name << " has no field";
      EXPECT_EQ(field->cpp_type(), kTypes.at(row.type)) << name;
      EXPECT_TRUE(field->has_presence()) << name;
    }
  }
  for (int i = 0; i < v1::MethodOptions::descriptor()->field_count(); ++i) {
    const std::string& name = v1::MethodOptions::descriptor()->field(i)->name();
    EXPECT_TRUE(named.contains(name)) << name << " is an option of no method";
  }
}

TEST(MethodOptions, GoToTheWireAndBack) {
  for (const Method& method : Methods()) {
    const Options options = FallbacksOf(method.options);
    EXPECT_EQ(FromProto(ToProto(options)), options) << method.name;
  }
}

TEST(MethodOptions, WhatIsNotSetIsNotSaid) {
  EXPECT_TRUE(FromProto(v1::MethodOptions()).empty());
  v1::MethodOptions message;
  message.set_bits_per_weight(0);  // set, though it is the zero
  EXPECT_EQ(FromProto(message).values().size(), 1U);
}

}  // namespace
}  // namespace quantd
