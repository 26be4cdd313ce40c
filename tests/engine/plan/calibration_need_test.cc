// How much text a plan calibrates on where nobody says.
#include "engine/plan/calibration_need.h"

#include <string>

#include "engine/plan/plan.h"
#include "gtest/gtest.h"
#include "tests/paths.h"

namespace quantd {
namespace {

QuantizeRequest Request(const std::string& recipe) {
  QuantizeRequest request;
  request.model_folder = SourcePath("models/books-3m");
  request.recipe = *ParseRecipe(recipe);
  request.evaluation.enabled = false;
  return request;
}

int64_t WindowsOf(const QuantizeRequest& request) {
  const auto planned = MakePlan(request);
  EXPECT_TRUE(planned.ok()) << planned.status();
  return planned.ok() ? (*planned)->plan.calibration_windows : -1;
}

TEST(CalibrationNeedTest, FollowsTheMethod) {
  EXPECT_EQ(WindowsOf(Request("{default: {method: rtn}}")), 0);
  EXPECT_EQ(WindowsOf(Request("{default: {method: rtn, scale_rule: hessian}}")), 4);
  EXPECT_EQ(WindowsOf(Request("{default: {method: awq}}")), 8);
  EXPECT_EQ(WindowsOf(Request("{default: {method: gptq}}")), 64);
  EXPECT_EQ(WindowsOf(Request("{default: {method: int8, activations: static}}")), 64);
  EXPECT_EQ(WindowsOf(Request("{default: {method: rtn}, kv_cache: fp8}")), 64);
  // The most demanding linear decides.
  EXPECT_EQ(WindowsOf(Request("{default: {method: awq}, overrides: [{match: \"*.o_proj\", "
                              "method: gptq}]}")),
            64);
}

TEST(CalibrationNeedTest, IsInTokensAndGivesWayToWhoeverAsks) {
  QuantizeRequest request = Request("{default: {method: awq}}");
  request.calibration.tokens_per_sample = 256;
  EXPECT_EQ(WindowsOf(request), 16);
  request.calibration.samples = 3;
  EXPECT_EQ(WindowsOf(request), 3);
}

// Four tokens for each input of the widest linear, by an expert's share, and a bound.
TEST(CalibrationNeedTest, FollowsWidthAndExperts) {
  Plan plan;
  plan.model.blocks.resize(1);
  const auto linear = [&](int64_t inputs, int expert) {
    plan.model.blocks[0].linears.assign(1, LinearSpec());
    plan.model.blocks[0].linears[0].block = 0;
    plan.model.blocks[0].linears[0].expert = expert;
    plan.model.blocks[0].linears[0].in_features = inputs;
    plan.linears = {{.linear = &plan.model.blocks[0].linears[0], .scheme = Scheme{}}};
    plan.linears[0].scheme->method = "gptq";
    return NeededWindows(plan, KvCache::kNone, 512);
  };
  EXPECT_EQ(linear(4096, -1), 64);
  EXPECT_EQ(linear(11008, -1), 86);
  EXPECT_EQ(linear(100000, -1), 128);
  plan.model.blocks[0].mixture.emplace();
  plan.model.blocks[0].mixture->experts = 8;
  plan.model.blocks[0].mixture->top_k = 6;
  EXPECT_EQ(linear(4096, 0), 86);
  EXPECT_EQ(linear(4096, -1), 64);
}

}  // namespace
}  // namespace quantd
