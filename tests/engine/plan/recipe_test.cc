#include "engine/types/recipe.h"

#include "base/error.h"
#include "engine/method/registry.h"
#include "engine/plan/resolve.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace quantd {
namespace {

using ::testing::HasSubstr;
using ::testing::SizeIs;

constexpr std::string_view kExample = R"(
default: {method: rtn, bits: 4, group_size: 128, symmetric: false}
overrides:
  - {match: "model.layers.*.mlp.down_proj", method: rtn, bits: 8, granularity: channel}
  - {match: "*.o_proj", skip: true}
skip: [lm_head]
propagate: quantized
)";

// A model of two blocks with q_proj [64, 128] and down_proj [128, 192].
ModelSpec TinyModel() {
  ModelSpec model;
  model.dtype = DType::kBF16;
  for (int block = 0; block < 2; ++block) {
    const std::string prefix = "model.layers." + std::to_string(block) + ".";
    BlockSpec spec;
    spec.prefix = prefix;
    spec.linears.push_back({.name = prefix + "self_attn.q_proj",
                            .role = LinearRole::kQ,
                            .out_features = 64,
                            .in_features = 128,
                            .block = block,
                            .input = 0});
    spec.linears.push_back({.name = prefix + "mlp.down_proj",
                            .role = LinearRole::kDown,
                            .out_features = 128,
                            .in_features = 192,
                            .block = block,
                            .input = 1});
    model.blocks.push_back(std::move(spec));
  }
  model.head = {
      .name = "lm_head", .role = LinearRole::kHead, .out_features = 256, .in_features = 128};
  return model;
}

TEST(RecipeTest, YamlAndJsonAreTheSameSchema) {
  const auto from_yaml = ParseRecipe(kExample);
  ASSERT_TRUE(from_yaml.ok()) << from_yaml.status();
  EXPECT_EQ(*from_yaml->default_scheme.symmetric, false);
  EXPECT_EQ(from_yaml->overrides[0].scheme.granularity, Granularity::kChannel);
  EXPECT_TRUE(from_yaml->overrides[1].skip);
  EXPECT_EQ(from_yaml->propagate, Propagate::kQuantized);
  EXPECT_EQ(*ParseRecipe(DumpJson(ToJson(*from_yaml))), *from_yaml);
}

TEST(RecipeTest, EveryProblemAtOnceAndUnknownKeysRefused) {
  const auto recipe = ParseRecipe(
      "default: {bits: 99, metod: rtn, scale_rule: median}\n"
      "overrides: [{bits: 3}, {match: x, skip: true, bits: 4}]\n"
      "propagate: sideways\n");
  EXPECT_EQ(recipe.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(ViolationsOf(recipe.status()), SizeIs(6));
  EXPECT_THAT(std::string(recipe.status().message()), HasSubstr("recipe.default.metod"));
  EXPECT_THAT(std::string(recipe.status().message()), HasSubstr("recipe.overrides[0].match"));
}

TEST(RecipeTest, HostileTextIsRefusedNotFollowed) {
  EXPECT_FALSE(ParseRecipe("{").ok());
  EXPECT_FALSE(ParseRecipe("a: &x [*x]").ok());
  EXPECT_FALSE(ParseRecipe("default: {bits: 4, bits: 3}").ok());
  EXPECT_FALSE(ParseRecipe("default: " + std::string(200, '[') + std::string(200, ']')).ok());
  EXPECT_FALSE(ParseRecipe(std::string(2 << 20, 'x')).ok());
  EXPECT_FALSE(ParseRecipe("[1, 2]").ok());
  EXPECT_FALSE(ParseRecipe("skip: lm_head").ok());
}

TEST(RecipeTest, OverridesOnTheCommandLine) {
  const auto entry =
      ParseOverride("model.layers.*.down_proj=rtn:bits=8:granularity=channel:symmetric=true");
  ASSERT_TRUE(entry.ok()) << entry.status();
  EXPECT_EQ(entry->match, "model.layers.*.down_proj");
  EXPECT_EQ(entry->scheme.bits, 8);
  EXPECT_EQ(entry->scheme.symmetric, true);
  EXPECT_TRUE(ParseOverride("*.o_proj=skip")->skip);
  // What is no field of a scheme is an option; whether the method has it is seen when it resolves.
  EXPECT_EQ(ParseOverride("x=rtn:color=red")->scheme.options.Text("color"), "red");
  for (const std::string bad : {"", "x", "=rtn", "x=rtn:bits", "x=rtn:bits=eight"}) {
    EXPECT_FALSE(ParseOverride(bad).ok()) << bad;
  }
}

TEST(RecipeTest, ThreeLevelsAreBits158) {
  const auto recipe = ParseRecipe("default: {method: hqq, bits: 1.58, options: {axis: 0}}");
  ASSERT_TRUE(recipe.ok()) << recipe.status();
  EXPECT_EQ(recipe->default_scheme.bits, 2);
  EXPECT_TRUE(recipe->default_scheme.options.Flag("ternary"));
  EXPECT_EQ(recipe->default_scheme.options.Integer("axis"), 0);
  EXPECT_FALSE(ParseRecipe("default: {method: hqq, bits: 1.6}").ok());
  EXPECT_FALSE(ParseRecipe("default: {method: hqq, bits: 2.5}").ok());
}

TEST(GlobTest, MatchesWholeNames) {
  EXPECT_TRUE(GlobMatches("*", ""));
  EXPECT_TRUE(GlobMatches("a*c", "abbbc"));
  EXPECT_TRUE(GlobMatches("*.mlp.*", "model.layers.0.mlp.down_proj"));
  EXPECT_TRUE(GlobMatches("layers.?.q", "layers.7.q"));
  EXPECT_FALSE(GlobMatches("layers.?.q", "layers.17.q"));
  EXPECT_FALSE(GlobMatches("mlp", "model.mlp"));
  EXPECT_FALSE(GlobMatches("", "a"));
  EXPECT_FALSE(GlobMatches(std::string(50, '*') + "b", std::string(5000, 'a')));
}

TEST(ResolveRecipeTest, LaterOverridesWinAndSkipsHold) {
  Recipe recipe = *ParseRecipe(
      "default: {method: rtn, bits: 4, group_size: 64}\n"
      "overrides: [{match: '*', bits: 8}, {match: '*.0.*', bits: 3}, {match: '*.1.mlp.*', skip: "
      "true}]\n"
      "skip: [lm_head]");
  recipe.overrides[0].match = "model.*";
  const ModelSpec model = TinyModel();
  const auto resolved = ResolveRecipe(recipe, model);
  ASSERT_TRUE(resolved.ok()) << resolved.status();
  ASSERT_THAT(*resolved, SizeIs(5));
  EXPECT_EQ((*resolved)[0].scheme->bits, 3);
  EXPECT_EQ((*resolved)[2].scheme->bits, 8);
  EXPECT_EQ((*resolved)[2].scheme->group_size, 64);
  EXPECT_FALSE((*resolved)[3].scheme.has_value());
  EXPECT_FALSE((*resolved)[4].scheme.has_value());
}

TEST(ResolveRecipeTest, NamesEveryModuleThatDoesNotFit) {
  const ModelSpec model = TinyModel();
  const auto resolved =
      ResolveRecipe(*ParseRecipe("default: {method: rtn, group_size: 128}"), model);
  EXPECT_EQ(ReasonOf(resolved.status()), Reason::kRecipeInvalid);
  EXPECT_THAT(ViolationsOf(resolved.status()), SizeIs(1));
  EXPECT_THAT(std::string(resolved.status().message()),
              HasSubstr("2 linears (model.layers.*.mlp.down_proj)"));
}

TEST(ResolveRecipeTest, GlobsThatHitNothingAndUnknownMethodsAreErrors) {
  const ModelSpec model = TinyModel();
  EXPECT_THAT(std::string(ResolveRecipe(*ParseRecipe("skip: [lm_haed]"), model).status().message()),
              HasSubstr("lm_haed, which matches no linear"));
  const auto unknown = ResolveRecipe(*ParseRecipe("default: {method: magic}"), model);
  EXPECT_THAT(std::string(unknown.status().message()), HasSubstr("magic"));
  EXPECT_THAT(std::string(unknown.status().message()), HasSubstr("rtn"));
}

TEST(ResolveRecipeTest, AnotherMethodStartsFromItsOwnDefaults) {
  const ModelSpec model = TinyModel();
  const auto resolved =
      ResolveRecipe(*ParseRecipe("default: {method: rtn, bits: 4, group_size: 64}\noverrides: "
                                 "[{match: '*.q_proj', method: int8}]"),
                    model);
  ASSERT_TRUE(resolved.ok()) << resolved.status();
  EXPECT_EQ((*resolved)[0].scheme->bits, 8);
  EXPECT_EQ((*resolved)[0].scheme->activations, ActivationScheme::kDynamicToken);
}

TEST(ResolveRecipeTest, ATiedHeadCannotBeQuantized) {
  ModelSpec model = TinyModel();
  model.tied_embeddings = true;
  const auto resolved = ResolveRecipe(*ParseRecipe("default: {group_size: 64}\nskip: []"), model);
  EXPECT_THAT(std::string(resolved.status().message()), HasSubstr("tied to the embedding"));
}

}  // namespace
}  // namespace quantd
