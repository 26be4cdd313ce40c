#include <cmath>
#include <string>
#include <vector>

#include "base/files.h"
#include "base/json.h"
#include "engine/model/forward.h"
#include "engine/model/rope_config.h"
#include "gtest/gtest.h"
#include "tests/paths.h"

namespace quantd {
namespace {

TEST(RopeTableTest, IsThatOfTransformers) {
  const std::string path = SourcePath("tests/golden/rope.json");
  const Json golden = *ParseJson(*ReadFile(path, 1 << 24), path);
  ASSERT_GE(golden.size(), 12U);
  for (const Json& test : golden) {
    const Json& config = test.at("config");
    const int64_t head_dim =
        config.at("hidden_size").get<int64_t>() / config.at("num_attention_heads").get<int64_t>();
    std::vector<Violation> unsupported;
    const auto rope = ParseRope(config, head_dim,
                                config.at("max_position_embeddings").get<int64_t>(), unsupported);
    ASSERT_TRUE(rope.ok()) << rope.status();
    ASSERT_TRUE(unsupported.empty());
    const RopeTable table = RopeTable::Make(*rope, 4096);
    ASSERT_EQ(table.half_dims, head_dim / 2);
    for (size_t p = 0; p < test.at("positions").size(); ++p) {
      const auto position = test.at("positions")[p].get<int64_t>();
      // One unit in the last place of a frequency moves the angle at position p by p times as much.
      const double tolerance = 1e-6 + 1.5e-7 * static_cast<double>(position);
      for (int64_t i = 0; i < table.half_dims; ++i) {
        const auto at = static_cast<size_t>(i);
        const int64_t cell = position * table.half_dims + i;
        ASSERT_NEAR(table.cos.data()[cell], test.at("cos")[p][at].get<double>(), tolerance)
            << test.at("name") << " position " << position << " frequency " << i;
        ASSERT_NEAR(table.sin.data()[cell], test.at("sin")[p][at].get<double>(), tolerance)
            << test.at("name") << " position " << position << " frequency " << i;
      }
    }
  }
}

absl::StatusOr<RopeSpec> Parse(const std::string& config, std::vector<Violation>& unsupported) {
  return ParseRope(*ParseJson(config, "config.json"), 64, 4096, unsupported);
}

TEST(RopeConfigTest, OldAndNewSpellingsMeanTheSame) {
  std::vector<Violation> unsupported;
  const auto old_style =
      Parse(R"({"rope_theta": 5e5, "rope_scaling": {"type": "linear", "factor": 2}})", unsupported);
  const auto new_style =
      Parse(R"({"rope_parameters": {"rope_type": "linear", "rope_theta": 500000, "factor": 2.0}})",
            unsupported);
  ASSERT_TRUE(old_style.ok() && new_style.ok());
  for (const RopeSpec& rope : {*old_style, *new_style}) {
    EXPECT_EQ(rope.theta, 5e5);
    EXPECT_EQ(rope.scaling, RopeSpec::Scaling::kLinear);
    EXPECT_EQ(rope.factor, 2.0);
  }
  EXPECT_TRUE(unsupported.empty());
}

TEST(RopeConfigTest, WhatWeLackIsNamed) {
  for (const char* config :
       {R"({"rope_scaling": {"type": "dynamic", "factor": 2}})",
        R"({"rope_scaling": {"rope_type": "proportional", "factor": 2}})",
        R"({"partial_rotary_factor": 0.5})",
        R"({"rope_parameters": {"partial_rotary_factor": 0.25}})",
        R"({"rope_parameters": {"full_attention": {"rope_type": "default"}}})"}) {
    std::vector<Violation> unsupported;
    ASSERT_TRUE(Parse(config, unsupported).ok()) << config;
    EXPECT_EQ(unsupported.size(), 1U) << config;
  }
}

TEST(RopeConfigTest, HostileNumbersAreRefused) {
  for (
      const char* config :
      {R"({"rope_theta": 0})", R"({"rope_theta": -1})", R"({"rope_theta": 1e300})",
       R"({"rope_theta": "10000"})", R"({"rope_scaling": "linear"})",
       R"({"rope_scaling": {"type": "linear"}})",
       R"({"rope_scaling": {"type": "linear", "factor": 0}})",
       R"({"rope_scaling": {"type": "yarn", "factor": 1e40}})",
       R"({"rope_scaling": {"type": "yarn", "factor": 2, "beta_fast": -1}})",
       R"({"rope_scaling": {"type": "yarn", "factor": 2, "original_max_position_embeddings": -5}})",
       R"({"rope_scaling": {"type": "llama3", "factor": 2, "low_freq_factor": 4, "high_freq_factor": 4}})",
       R"({"rope_scaling": {"type": "llama3", "factor": 2, "low_freq_factor": 0}})",
       R"({"rope_scaling": {"rope_type": "longrope", "factor": 2}})",
       R"({"rope_scaling": {"type": "su", "short_factor": [1, 0], "long_factor": [1, "a"]}})",
       R"({"rope_scaling": {"type": 7}})"}) {
    std::vector<Violation> unsupported;
    EXPECT_FALSE(Parse(config, unsupported).ok()) << config;
  }
}

}  // namespace
}  // namespace quantd
