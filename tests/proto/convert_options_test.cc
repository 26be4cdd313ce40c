#include "proto/convert_options.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "engine/method/registry.h"

namespace quantd {
namespace {

// As the method that has `rows` would read them: a whole number is good for a float.
Options Checked(const Options& options, std::span<const OptionRow> rows) {
  Options checked;
  for (const auto& [name, value] : options.values()) {
    const auto good = CheckOption(*FindOption(rows, name), value);
    EXPECT_TRUE(good.ok()) << name << ": " << good.status();
    if (good.ok()) checked.Set(name, *good);
  }
  return checked;
}

TEST(Options, OfEveryMethodGoToTheWireAndBack) {
  for (const Method& method : Methods()) {
    const Options options = FallbacksOf(method.options);
    FieldChecks checks("scheme");
    EXPECT_EQ(Checked(FromProto(ToProto(options), checks), method.options), options) << method.name;
    EXPECT_TRUE(checks.ok()) << method.name;
  }
}

TEST(Options, WholeNumbersAreIntegersUpToWhereDoublesAreExact) {
  OptionMap map;
  map["whole"].set_number_value(20);
  map["large"].set_number_value(std::pow(2.0, 53));
  map["larger"].set_number_value(std::pow(2.0, 60));
  map["part"].set_number_value(0.5);
  map["flag"].set_bool_value(false);  // said, though it is the zero
  map["text"].set_string_value("");
  FieldChecks checks("scheme");
  const Options options = FromProto(map, checks);
  EXPECT_TRUE(checks.ok());
  EXPECT_EQ(options.values().at("whole"), OptionValue(int64_t{20}));
  EXPECT_EQ(options.values().at("large"), OptionValue(int64_t{1} << 53));
  EXPECT_EQ(options.values().at("larger"), OptionValue(std::pow(2.0, 60)));
  EXPECT_EQ(options.values().at("part"), OptionValue(0.5));
  EXPECT_EQ(options.values().at("flag"), OptionValue(false));
  EXPECT_EQ(options.values().at("text"), OptionValue(std::string()));
}

TEST(Options, WhatIsNoBooleanNumberOrTextIsRefusedByName) {
  OptionMap map;
  map["null"].set_null_value(google::protobuf::NULL_VALUE);
  map["object"].mutable_struct_value();
  map["list"].mutable_list_value()->add_values()->set_number_value(1);
  map["nan"].set_number_value(std::nan(""));
  map["infinite"].set_number_value(INFINITY);
  map["unset"];
  FieldChecks checks("job.spec.recipe.default_scheme");
  EXPECT_TRUE(FromProto(map, checks).empty());
  std::map<std::string, std::string> got;
  for (const Violation& violation : ViolationsOf(checks.Finish())) {
    got[violation.where] = violation.got;
    EXPECT_EQ(violation.wanted, "a boolean, a number or a text");
  }
  const std::string path = "job.spec.recipe.default_scheme.options.";
  EXPECT_EQ(got, (std::map<std::string, std::string>{{path + "null", "null"},
                                                     {path + "object", "an object"},
                                                     {path + "list", "a list"},
                                                     {path + "nan", "nan"},
                                                     {path + "infinite", "inf"},
                                                     {path + "unset", "nothing"}}));
}

}  // namespace
}  // namespace quantd
