// What methods say of themselves, and which requests they refuse.

#include "engine/method/registry.h"

#include <algorithm>
#include <map>
#include <set>

#include "base/error.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

// What a test does not name keeps its default: that is the point of naming.
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"

namespace quantd {
namespace {

using ::testing::HasSubstr;
using ::testing::SizeIs;

LinearSpec Linear(int64_t outputs = 256, int64_t inputs = 640) {
  LinearSpec linear;
  linear.name = "model.layers.0.mlp.down_proj";
  linear.role = LinearRole::kDown;
  linear.out_features = outputs;
  linear.in_features = inputs;
  return linear;
}

absl::StatusOr<Scheme> Resolve(std::string_view method, const SchemeRequest& request,
                               const LinearSpec& linear = Linear()) {
  return FindMethod(method)->resolve(request, linear, DType::kBF16);
}

Violation OnlyViolation(const absl::StatusOr<Scheme>& scheme) {
  EXPECT_FALSE(scheme.ok());
  EXPECT_EQ(ReasonOf(scheme.status()), Reason::kRecipeInvalid);
  const std::vector<Violation> violations = ViolationsOf(scheme.status());
  EXPECT_THAT(violations, SizeIs(1));
  return violations.empty() ? Violation{} : violations[0];
}

TEST(MethodRegistry, RowsAreComplete) {
  std::set<std::string_view> names;
  for (const Method& method : Methods()) {
    EXPECT_TRUE(names.insert(method.name).second) << "twice: " << method.name;
    EXPECT_EQ(FindMethod(method.name), &method);
    EXPECT_FALSE(method.summary.empty());
    EXPECT_FALSE(method.source.empty());
    EXPECT_FALSE(method.bits.empty());
    EXPECT_NE(method.resolve, nullptr);
    EXPECT_NE(method.needs, nullptr);
    EXPECT_NE(method.quantize, nullptr);
    for (const OptionRow& option : method.options) EXPECT_FALSE(option.help.empty());
  }
  EXPECT_THAT(names, ::testing::IsSupersetOf({"rtn", "int8"}));
  EXPECT_EQ(FindMethod("gptqq"), nullptr);
}

// Hands every linear to another method before a run, and resolves to what that one would do.
bool StandsForAnother(const Method& method) { return method.name == "auto"; }

TEST(MethodRegistry, DefaultsAreTheOnesOfTheTable) {
  for (const Method& method : Methods()) {
    if (StandsForAnother(method)) continue;
    const absl::StatusOr<Scheme> scheme = Resolve(method.name, {});
    ASSERT_TRUE(scheme.ok()) << scheme.status();
    EXPECT_EQ(scheme->method, method.name);
    const std::map<std::string_view, std::string> actual = {
        {"bits", std::to_string(scheme->bits)},
        {"granularity", std::string(NameOf(scheme->granularity))},
        {"scale_rule", std::string(NameOf(scheme->scale_rule))},
        {"activations", std::string(NameOf(scheme->activations))},
        {"symmetric", scheme->symmetric ? "true" : "false"}};
    for (const OptionRow& option : method.options) {
      const auto found = actual.find(option.name);
      if (found == actual.end())
        continue;  // group_size: without meaning unless groups are asked for
      EXPECT_EQ(found->second, option.fallback) << method.name << ", " << option.name;
    }
  }
}

TEST(MethodRegistry, EveryBitWidthOfTheTableResolves) {
  for (const Method& method : Methods()) {
    // Where the type of blocks says the bits, nobody may.
    if (StandsForAnother(method) || method.name == "gguf") continue;
    for (int bits = 1; bits <= 9; ++bits) {
      const bool wanted =
          std::find(method.bits.begin(), method.bits.end(), bits) != method.bits.end();
      EXPECT_EQ(Resolve(method.name, {.bits = bits}).ok(), wanted) << method.name << " " << bits;
    }
  }
}

TEST(Auto, StandsForItsBaseNearTheBudget) {
  const auto scheme = Resolve("auto", {});
  ASSERT_TRUE(scheme.ok()) << scheme.status();
  EXPECT_EQ(scheme->method, "awq+gptq");
  EXPECT_EQ(scheme->bits, 4);
  SchemeRequest request;
  request.group_size = 64;
  request.options.Set("base", std::string("rtn"));
  request.options.Set("bits_per_weight", 7.5);
  const auto wide = Resolve("auto", request);
  ASSERT_TRUE(wide.ok()) << wide.status();
  EXPECT_EQ(wide->method, "rtn");
  EXPECT_EQ(wide->bits, 8);
  EXPECT_EQ(wide->group_size, 64);
  EXPECT_THAT(OnlyViolation(Resolve("auto", {.bits = 4})).wanted, HasSubstr("bits_per_weight"));
  request.options.Set("bits_per_weight", 0.5);
  EXPECT_THAT(OnlyViolation(Resolve("auto", request)).wanted, HasSubstr("1.5..16"));
}

TEST(Rtn, TakesOverTheModelsTypeAndTheRequest) {
  const auto scheme = Resolve("rtn", {.bits = 3, .group_size = 64, .symmetric = false});
  ASSERT_TRUE(scheme.ok()) << scheme.status();
  EXPECT_EQ(scheme->group_size, 64);
  EXPECT_FALSE(scheme->symmetric);
  EXPECT_EQ(scheme->scale_dtype, DType::kBF16);
  EXPECT_EQ(scheme->GroupsPerRow(640), 10);
}

TEST(Rtn, ChannelAndTensorHaveNoGroups) {
  const auto channel = Resolve("rtn", {.granularity = Granularity::kChannel, .group_size = 128});
  ASSERT_TRUE(channel.ok()) << channel.status();
  EXPECT_EQ(channel->group_size, 0);
  const auto whole_rows = Resolve("rtn", {.group_size = -1});
  ASSERT_TRUE(whole_rows.ok()) << whole_rows.status();
  EXPECT_EQ(whole_rows->granularity, Granularity::kChannel);
  const auto tensor = Resolve("rtn", {.granularity = Granularity::kTensor});
  ASSERT_TRUE(tensor.ok()) << tensor.status();
  EXPECT_EQ(tensor->scale_rule, ScaleRule::kAbsmax);
}

TEST(Rtn, RefusesGroupsThatDoNotDivideAndSaysWhichDo) {
  const Violation violation = OnlyViolation(Resolve("rtn", {.group_size = 96}));
  EXPECT_EQ(violation.where, "model.layers.0.mlp.down_proj");
  EXPECT_EQ(violation.got, "group_size 96 for 640 inputs");
  EXPECT_THAT(violation.wanted, HasSubstr("128, 64, 32, 16, 8"));
  EXPECT_THAT(violation.wanted, ::testing::Not(HasSubstr("256")));
  EXPECT_THAT(OnlyViolation(Resolve("rtn", {.group_size = 20})).wanted, HasSubstr("multiple of 8"));
  EXPECT_THAT(OnlyViolation(Resolve("rtn", {}, Linear(8, 100))).wanted,
              HasSubstr("granularity channel"));
}

TEST(Rtn, RefusesActivationsAndSearchOverATensor) {
  EXPECT_THAT(
      OnlyViolation(Resolve("rtn", {.activations = ActivationScheme::kDynamicToken})).wanted,
      HasSubstr("int8"));
  EXPECT_THAT(OnlyViolation(Resolve("rtn", {.granularity = Granularity::kTensor,
                                            .scale_rule = ScaleRule::kMse}))
                  .wanted,
              HasSubstr("absmax"));
}

TEST(Rtn, ReportsEveryProblemAtOnce) {
  const auto scheme = Resolve(
      "rtn", {.bits = 12, .group_size = 96, .activations = ActivationScheme::kDynamicToken});
  EXPECT_THAT(ViolationsOf(scheme.status()), SizeIs(3));
}

TEST(Int8, GroupsOnlyWithoutActivations) {
  EXPECT_THAT(OnlyViolation(Resolve("int8", {.group_size = 128})).wanted,
              HasSubstr("activations none"));
  const auto w8a16 = Resolve("int8", {.group_size = 128, .activations = ActivationScheme::kNone});
  ASSERT_TRUE(w8a16.ok()) << w8a16.status();
  EXPECT_EQ(w8a16->granularity, Granularity::kGroup);
  EXPECT_EQ(w8a16->group_size, 128);
}

TEST(Int8, IsSymmetric) {
  EXPECT_THAT(OnlyViolation(Resolve("int8", {.symmetric = false})).wanted,
              HasSubstr("symmetric true"));
}

TEST(Methods, ThatOnlyRoundAskForStatisticsOnlyWhenTheyWeigh) {
  for (const std::string_view name : {"rtn", "int8"}) {
    const Method& method = *FindMethod(name);
    Scheme scheme;
    scheme.scale_rule = ScaleRule::kMse;
    EXPECT_FALSE(method.needs(scheme).any());
    scheme.scale_rule = ScaleRule::kWeightedMse;
    EXPECT_TRUE(method.needs(scheme).moments);
  }
}

TEST(NumberFormats, IntegersAreTheirBits) {
  SchemeRequest by_name, by_bits;
  by_name.number_format = "int3";
  by_bits.bits = 3;
  for (const char* method : {"rtn", "awq", "gptq", "awq+gptq"}) {
    const auto named = Resolve(method, by_name), counted = Resolve(method, by_bits);
    ASSERT_TRUE(named.ok() && counted.ok()) << method;
    EXPECT_TRUE(*named == *counted) << method;
  }
}

TEST(NumberFormats, FloatingOnesFixHowScalesAreShared) {
  SchemeRequest request;
  request.number_format = "nvfp4";
  for (const char* method : {"rtn", "awq", "gptq", "awq+gptq"}) {
    const auto scheme = Resolve(method, request);
    ASSERT_TRUE(scheme.ok()) << scheme.status();
    EXPECT_EQ(scheme->bits, 4);
    EXPECT_EQ(scheme->group_size, 16);
    EXPECT_TRUE(scheme->symmetric);
    EXPECT_EQ(StorageBits(*scheme, 256, 640), 256 * 640 * 4 + 256 * 40 * 8);
  }
  request.group_size = 32;
  EXPECT_EQ(OnlyViolation(Resolve("rtn", request)).wanted, "groups of 16");
  request = {};
  request.number_format = "fp8-e4m3";
  EXPECT_EQ(Resolve("gptq", request)->granularity, Granularity::kChannel);
  request.symmetric = false;
  EXPECT_EQ(OnlyViolation(Resolve("rtn", request)).wanted, "symmetric true");
}

TEST(NumberFormats, BlocksSayAllButTheSearch) {
  SchemeRequest request;
  for (const char* format : {"Q8_0", "Q6_K", "Q5_1", "Q4_K", "Q4_K_M", "Q3_K", "Q2_K"}) {
    request.number_format = format;
    for (const char* method : {"rtn", "awq", "gptq", "awq+gptq"}) {
      const auto scheme = Resolve(method, request, Linear(256, 512));
      ASSERT_TRUE(scheme.ok()) << scheme.status();
      EXPECT_EQ(scheme->layout, format);
      EXPECT_EQ(scheme->bits, scheme->block->bits);
      EXPECT_EQ(scheme->group_size, scheme->block->elements);
      EXPECT_EQ(scheme->scale_rule,
                std::string_view(method) == "rtn" ? ScaleRule::kMse : ScaleRule::kWeightedMse);
    }
    for (const char* method : {"int8", "smoothquant", "hqq", "hqq+gptq", "auto", "gguf"}) {
      EXPECT_FALSE(Resolve(method, request).ok()) << method;
    }
  }
}

TEST(NumberFormats, BlocksRefuseWhatTheySayThemselves) {
  const auto refused = [](const std::string& format, SchemeRequest request,
                          const char* method = "gptq") {
    request.number_format = format;
    return OnlyViolation(Resolve(method, request));
  };
  EXPECT_THAT(refused("F16", {}, "awq").wanted, HasSubstr("method gguf"));
  EXPECT_THAT(refused("Q4_K", {.group_size = 32}).got, HasSubstr("a group size or granularity"));
  EXPECT_THAT(refused("Q4_K", {.symmetric = true}).got, HasSubstr("symmetric"));
  EXPECT_THAT(refused("Q4_K", {.bits = 4}).got, HasSubstr("bits"));
  EXPECT_THAT(refused("Q4_K", {.scale_rule = ScaleRule::kHessian}).wanted, HasSubstr("mse"));
  EXPECT_THAT(refused("Q4_K", {.activations = ActivationScheme::kDynamicToken}).wanted,
              HasSubstr("none"));
  SchemeRequest ordered;
  ordered.options.Set("act_order", std::string("desc-act"));
  EXPECT_THAT(refused("Q4_K", ordered).wanted, HasSubstr("group-aware"));
  for (const char* option : {"clip", "reference"}) {
    SchemeRequest cut;
    cut.options.Set(option, true);
    EXPECT_THAT(refused("Q4_0", cut, "awq").wanted, HasSubstr("integers"));
  }
}

TEST(NumberFormats, RefusesWhatDoesNotGoTogether) {
  SchemeRequest request;
  request.number_format = "fp5";
  EXPECT_THAT(OnlyViolation(Resolve("rtn", request)).wanted, HasSubstr("int8, fp8-e4m3"));
  request.number_format = "int4";
  request.bits = 3;
  EXPECT_EQ(OnlyViolation(Resolve("rtn", request)).wanted, "one of the two");
  request.bits.reset();
  request.activations = ActivationScheme::kDynamicToken;
  EXPECT_THAT(OnlyViolation(Resolve("gptq", request)).got, HasSubstr("activations dynamic"));
  request.number_format = "nvfp4";
  EXPECT_THAT(OnlyViolation(Resolve("rtn", request)).wanted, HasSubstr("static or none"));
  request.number_format = "mxfp8";
  EXPECT_TRUE(Resolve("awq", request).ok());
  request.activations = ActivationScheme::kStatic;
  EXPECT_THAT(OnlyViolation(Resolve("awq", request)).wanted, HasSubstr("dynamic or none"));
  request.activations.reset();
  EXPECT_FALSE(Resolve("int8", request).ok());
  for (const char* method : {"hqq", "hqq+gptq"}) {
    EXPECT_THAT(OnlyViolation(Resolve(method, request)).wanted, HasSubstr("weighted-mse"));
  }
  EXPECT_FALSE(Resolve("gguf", request).ok());
}

}  // namespace
}  // namespace quantd
