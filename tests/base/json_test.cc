#include "base/json.h"

#include <string>

#include "base/error.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace quantd {
namespace {

using ::testing::HasSubstr;
using ::testing::SizeIs;

TEST(JsonTest, RefusesWhatWouldHurt) {
  EXPECT_FALSE(ParseJson("{", "f").ok());
  EXPECT_FALSE(ParseJson("", "f").ok());
  EXPECT_FALSE(ParseJson("{\"a\":1,\"a\":2}", "f").ok());
  EXPECT_FALSE(ParseJson(std::string(100000, '['), "f").ok());
  const std::string deep = std::string(66, '[') + std::string(66, ']');
  EXPECT_THAT(std::string(ParseJson(deep, "f").status().message()), HasSubstr("nested"));
  EXPECT_TRUE(ParseJson(std::string(64, '[') + std::string(64, ']'), "f").ok());
  EXPECT_FALSE(ParseJson("\"\xff\xfe\"", "f").ok());
  EXPECT_FALSE(ParseJson(std::string_view("{}\0junk", 7), "f").ok());
}

TEST(JsonTest, DumpNeverThrowsOnBadUtf8) {
  EXPECT_THAT(DumpJson(Json("\xff")), HasSubstr("\xef\xbf\xbd"));
}

TEST(JsonFieldsTest, ReportsEveryProblemAtOnce) {
  const Json json = *ParseJson(R"({"bits": 99, "name": 3, "extra": 1, "on": "yes"})", "f");
  JsonFields fields(json, "recipe");
  EXPECT_EQ(fields.Integer("bits", 4, 2, 8), 4);
  EXPECT_EQ(fields.String("name", "x"), "x");
  EXPECT_TRUE(fields.Bool("on", true));
  const absl::Status status = fields.Finish();
  ASSERT_THAT(ViolationsOf(status), SizeIs(4));
  EXPECT_EQ(ViolationsOf(status)[0].where, "recipe.bits");
  EXPECT_EQ(ViolationsOf(status)[0].got, "99");
  EXPECT_THAT(std::string(status.message()), HasSubstr("recipe.extra"));
}

TEST(JsonFieldsTest, AnUnknownKeyAloneHasItsOwnReason) {
  const Json json = *ParseJson(R"({"bitz": 4})", "f");
  JsonFields fields(json, "");
  fields.Integer("bits", 4, 2, 8);
  const absl::Status status = fields.Finish();
  EXPECT_EQ(ReasonOf(status), Reason::kUnknownField);
  EXPECT_THAT(std::string(status.message()), HasSubstr("one of bits"));
}

TEST(JsonTest, RefusesNumbersThatNoDoubleHolds) { EXPECT_FALSE(ParseJson("1e999", "f").ok()); }

TEST(JsonFieldsTest, NumbersBeyondInt64AreRefusedNotWrapped) {
  const Json json = *ParseJson(R"({"n": 18446744073709551615, "g": 1.5})", "f");
  JsonFields fields(json, "");
  EXPECT_EQ(fields.Integer("n", 1, 0, INT64_MAX), 1);
  EXPECT_EQ(fields.Integer("g", 1, 0, 10), 1);
  EXPECT_THAT(ViolationsOf(fields.FinishIgnoringUnknown()), SizeIs(2));
}

TEST(JsonFieldsTest, NotAnObject) {
  const Json json = *ParseJson("[1]", "f");
  JsonFields fields(json, "recipe");
  EXPECT_EQ(fields.Integer("n", 7, 0, 9), 7);
  EXPECT_THAT(std::string(fields.Finish().message()), HasSubstr("an object"));
}

}  // namespace
}  // namespace quantd
