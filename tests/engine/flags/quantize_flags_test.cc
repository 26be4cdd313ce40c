#include "engine/flags/quantize_flags.h"

#include "base/error.h"
#include "base/files.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace quantd {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

// Parses a command line as the programs do.
absl::StatusOr<QuantizeRequest> Parse(std::vector<std::string> arguments,
                                      QuantizeRequest request = {}) {
  CLI::App app;
  QuantizeFlags flags(app);
  std::reverse(arguments.begin(), arguments.end());
  try {
    app.parse(arguments);
  } catch (const CLI::ParseError& error) {
    return absl::InvalidArgumentError(error.what());
  }
  if (absl::Status status = flags.Apply(request); !status.ok()) return status;
  return request;
}

TEST(QuantizeFlagsTest, NothingGivenIsTheDefaultRequest) {
  const auto request = Parse({});
  ASSERT_TRUE(request.ok()) << request.status();
  EXPECT_EQ(*request, QuantizeRequest{});
}

// What Said() is after the arguments.
Json SaidBy(std::vector<std::string> arguments) {
  CLI::App app;
  QuantizeFlags flags(app);
  std::reverse(arguments.begin(), arguments.end());
  app.parse(arguments);
  return flags.Said();
}

TEST(QuantizeFlagsTest, SaidIsWhatTheCommandLineHas) {
  EXPECT_EQ(SaidBy({}), Json::object());
  EXPECT_EQ(SaidBy({"--samples", "128", "--no-evaluation", "--analyze", "--gate-kl", "0.1"}),
            (Json{{"calibration", {{"samples", 128}}},
                  {"evaluation", {{"enabled", false}, {"analyze", true}}},
                  {"gate", {{"max_mean_kl", 0.1}}}}));
  EXPECT_EQ(SaidBy({"--propagate", "original"}), (Json{{"recipe", {{"propagate", true}}}}));
  EXPECT_EQ(SaidBy({"--recipe", "r.yaml"}),
            (Json{{"recipe",
                   {{"skip", true}, {"propagate", true}, {"kv_cache", true}, {"rotate", true}}}}));
  EXPECT_EQ(SaidBy({"--rotate", "hadamard"}), (Json{{"recipe", {{"rotate", true}}}}));
  EXPECT_EQ(SaidBy({"--kv-cache", "none"}), (Json{{"recipe", {{"kv_cache", true}}}}));
  // Of both texts where none is named, else of those that are.
  EXPECT_EQ(SaidBy({"--text-field", "body"}), (Json{{"calibration", {{"text_field", "body"}}},
                                                    {"evaluation", {{"text_field", "body"}}}}));
  EXPECT_EQ(SaidBy({"--text-field", "body", "--calibration", "/a"}),
            (Json{{"calibration", {{"text", "/a"}, {"text_field", "body"}}}}));
}

TEST(QuantizeFlagsTest, EveryFlagReachesItsField) {
  const auto request = Parse({"--method",
                              "rtn",
                              "--bits",
                              "8",
                              "--group-size",
                              "64",
                              "--asymmetric",
                              "--scale-rule",
                              "absmax",
                              "--override",
                              "*.o_proj=skip",
                              "--skip",
                              "*.q_proj",
                              "--propagate",
                              "quantized",
                              "--kv-cache",
                              "fp8",
                              "--calibration",
                              "c.txt",
                              "--samples",
                              "7",
                              "--seq-len",
                              "256",
                              "--seed",
                              "3",
                              "--eval-windows",
                              "5",
                              "--gate-kl",
                              "0.5",
                              "--gate-ppl-ratio",
                              "1.1",
                              "--gate-top1",
                              "0.9",
                              "--loader",
                              "vllm",
                              "--tensor-parallel",
                              "2",
                              "--backend",
                              "cpu",
                              "--compute",
                              "f32",
                              "--shard-bytes",
                              "5000000",
                              "--max-memory",
                              "1000000000"});
  ASSERT_TRUE(request.ok()) << request.status();
  const SchemeRequest& scheme = request->recipe.default_scheme;
  EXPECT_EQ(scheme.bits, 8);
  EXPECT_EQ(scheme.symmetric, false);
  EXPECT_EQ(scheme.scale_rule, ScaleRule::kAbsmax);
  EXPECT_THAT(request->recipe.skip, ElementsAre("lm_head", "*.q_proj"));
  EXPECT_EQ(request->recipe.kv_cache, KvCache::kFp8);
  EXPECT_TRUE(request->recipe.overrides[0].skip);
  EXPECT_TRUE(request->calibration.text.starts_with("/"));
  EXPECT_TRUE(request->calibration.text.ends_with("/c.txt"));
  EXPECT_EQ(request->calibration.samples, 7);
  EXPECT_EQ(request->calibration.tokens_per_sample, 256);
  EXPECT_EQ(request->evaluation.tokens_per_window, 256);
  EXPECT_EQ(request->gate.min_top1_agreement, 0.9);
  EXPECT_EQ(request->output.tensor_parallel, 2);
  EXPECT_EQ(request->resources.compute, ComputeType::kF32);
  EXPECT_EQ(request->resources.max_memory_bytes, 1000000000);
}

TEST(QuantizeFlagsTest, FlagsOverrideTheRecipeFile) {
  const TemporaryFolder folder = *TemporaryFolder::Create("flags-test");
  const std::string path = folder.path() + "/recipe.yaml";
  ASSERT_TRUE(
      WriteFileAtomic(path, "default: {method: rtn, bits: 4, group_size: 64}\nskip: ['*.o_proj']\n")
          .ok());
  const auto request = Parse({"--recipe", path, "--bits", "8"});
  ASSERT_TRUE(request.ok()) << request.status();
  EXPECT_EQ(request->recipe.default_scheme.bits, 8);
  EXPECT_EQ(request->recipe.default_scheme.group_size, 64);
  EXPECT_THAT(request->recipe.skip, ElementsAre("*.o_proj"));
  const auto other = Parse({"--recipe", path, "--method", "int8"});
  EXPECT_FALSE(other->recipe.default_scheme.group_size.has_value());
}

// The runner reads a whole request from a file and then applies its flags, of which there are none.
TEST(QuantizeFlagsTest, WhatTheRequestHasStaysWithoutFlags) {
  QuantizeRequest given;
  given.recipe.default_scheme.method = "int8";
  given.recipe.overrides.push_back({.match = "*.o_proj", .skip = true, .scheme = {}});
  given.recipe.skip = {"*.q_proj"};
  given.evaluation.windows = 3;
  given.resources.backend = "cpu";
  const auto request = Parse({}, given);
  ASSERT_TRUE(request.ok()) << request.status();
  EXPECT_EQ(*request, given);
}

TEST(QuantizeFlagsTest, EveryProblemAtOnce) {
  const auto request =
      Parse({"--bits", "77", "--scale-rule", "median", "--samples", "-1", "--compute", "f8"});
  EXPECT_THAT(ViolationsOf(request.status()), SizeIs(4));
  EXPECT_THAT(std::string(request.status().message()), HasSubstr("recipe.default.bits"));
  EXPECT_FALSE(Parse({"--symmetric", "--asymmetric"}).ok());
  EXPECT_FALSE(Parse({"--recipe", "/no/such/file"}).ok());
}

}  // namespace
}  // namespace quantd
