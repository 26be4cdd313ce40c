#include "engine/plan/pick_format.h"

#include <string>
#include <vector>

#include "base/error.h"
#include "engine/plan/resolve.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace quantd {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;

ModelSpec Model(int64_t inputs) {
  ModelSpec model;
  model.dtype = DType::kBF16;
  BlockSpec block;
  block.prefix = "model.layers.0.";
  block.linears.push_back({.name = "model.layers.0.self_attn.q_proj",
                           .role = LinearRole::kQ,
                           .out_features = 256,
                           .in_features = inputs});
  model.blocks.push_back(std::move(block));
  model.head = {
      .name = "lm_head", .role = LinearRole::kHead, .out_features = 256, .in_features = inputs};
  return model;
}

absl::StatusOr<PickedFormat> Pick(std::string_view recipe, const OutputRequest& output,
                                  int64_t inputs = 256) {
  const ModelSpec model = Model(inputs);
  QD_ASSIGN_OR_RETURN(const Recipe parsed, ParseRecipe(recipe));
  QD_ASSIGN_OR_RETURN(auto linears, ResolveRecipe(parsed, model));
  return PickFormat(output, model, linears);
}

OutputRequest Output(const char* format, const char* loader) {
  OutputRequest output;
  output.format = format;
  output.loader = loader;
  return output;
}

struct Row {
  const char* recipe;
  const char* loader;
  const char* format;
};

class FirstFormatTest : public ::testing::TestWithParam<Row> {};

TEST_P(FirstFormatTest, HoldsTheRecipe) {
  const auto picked = Pick(GetParam().recipe, Output("", GetParam().loader));
  ASSERT_TRUE(picked.ok()) << picked.status();
  EXPECT_EQ(picked->format->name, GetParam().format);
}

INSTANTIATE_TEST_SUITE_P(
    Recipes, FirstFormatTest,
    ::testing::Values(Row{"default: {method: rtn, bits: 4}", "", "compressed-tensors"},
                      Row{"default: {method: awq+gptq, bits: 3}", "", "compressed-tensors"},
                      Row{"default: {method: rtn, number_format: nvfp4}", "", "compressed-tensors"},
                      Row{"default: {method: hqq, bits: 4}", "transformers4", "hqq"},
                      Row{"default: {method: hqq, bits: 4}", "", "hqq"}));

TEST(PickFormatTest, SaysWhyItIsNotTheFirst) {
  const auto picked = Pick("default: {method: hqq, bits: 4}", {});
  ASSERT_TRUE(picked.ok()) << picked.status();
  EXPECT_THAT(picked->warnings,
              Contains(HasSubstr("written as hqq: compressed-tensors cannot hold it")));
  EXPECT_THAT(Pick("default: {method: rtn, bits: 4}", {})->warnings,
              Not(Contains(HasSubstr("written as"))));
}

TEST(PickFormatTest, WhatIsAskedForIsTakenOrRefused) {
  EXPECT_EQ(ReasonOf(Pick("default: {method: hqq, bits: 4}", Output("gptq", "")).status()),
            Reason::kFormatCannotHold);
  EXPECT_EQ(ReasonOf(Pick("default: {method: rtn}", Output("nothing", "")).status()),
            Reason::kFormatCannotHold);
  const auto picked = Pick("default: {method: rtn, bits: 4}", Output("dequantized", ""));
  ASSERT_TRUE(picked.ok()) << picked.status();
  EXPECT_EQ(picked->format->name, "dequantized");
}

TEST(PickFormatTest, ALoaderThatNobodyKnowsIsRefusedByTheFirst) {
  const auto picked = Pick("default: {method: rtn, bits: 4}", Output("", "nothing"));
  EXPECT_EQ(ReasonOf(picked.status()), Reason::kLoaderRefuses);
}

}  // namespace
}  // namespace quantd
