// Which of a config's keys the rope is read from: what transformers 5.24 makes of each.
#include "engine/model/rope_config.h"

#include <string>
#include <vector>

#include "base/error.h"
#include "engine/model/registry.h"
#include "gtest/gtest.h"

namespace quantd {
namespace {

absl::StatusOr<ModelSpec> Parse(const std::string& family, const std::string& changes) {
  Json config = *ParseJson(
      R"({"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
      "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 128,
      "max_position_embeddings": 256})",
      "base");
  config.update(*ParseJson(changes, "changes"));
  return FindFamily(family)->parse(config);
}

using Scaling = RopeSpec::Scaling;

struct Case {
  const char* family;
  const char* changes;
  double theta;
  Scaling scaling = Scaling::kNone;
  int64_t dims = 16;
};

TEST(RopeConfigTest, KeysGoBeforeEachOtherAsInTransformers) {
  const Case kCases[] = {
      {"llama", R"({"rope_theta": 777})", 777},
      {"llama", R"({"rope_parameters": {"rope_type": "default", "rope_theta": 5}})", 5},
      {"llama", R"({"rope_parameters": {"rope_theta": 5}, "rope_theta": 777})", 5},
      {"llama", R"({"rope_parameters": {"rope_type": "default"}, "rope_theta": 777})", 777},
      {"llama", R"({"rope_parameters": {"rope_theta": 5}, "rope_scaling": {}})", 5},
      {"llama", R"({"rope_parameters": {"rope_theta": 5}, "rope_scaling": null})", 5},
      // theta inside rope_scaling, and old and new keys side by side
      {"llama",
       R"({"rope_scaling": {"rope_type": "linear", "factor": 2, "rope_theta": 5000},
       "rope_theta": 777})",
       5000, Scaling::kLinear},
      {"llama",
       R"({"rope_scaling": {"rope_type": "linear", "factor": 2}, "rope_theta": 777,
       "rope_parameters": {"rope_type": "default", "rope_theta": 5}})",
       777, Scaling::kLinear},
      {"llama",
       R"({"rope_scaling": {"type": "linear", "rope_type": "llama3", "factor": 2,
       "low_freq_factor": 1, "high_freq_factor": 4}})",
       10000, Scaling::kLlama3},
      {"gpt_neox", R"({})", 10000, Scaling::kNone, 4},
      {"gpt_neox", R"({"rotary_pct": 0.5, "rotary_emb_base": 99})", 99, Scaling::kNone, 8},
      {"gpt_neox", R"({"rope_theta": 33, "partial_rotary_factor": 0.75})", 10000, Scaling::kNone,
       4},
      {"gpt_neox",
       R"({"rotary_pct": 0.25, "rope_parameters": {"rope_theta": 5,
       "partial_rotary_factor": 0.5}})",
       5, Scaling::kNone, 8},
      {"glm4", R"({"head_dim": 16, "rope_theta": 777})", 777, Scaling::kNone, 8},
      {"glm4",
       R"({"head_dim": 16, "partial_rotary_factor": 0.25, "rope_parameters": {"rope_theta": 5,
       "partial_rotary_factor": 0.75}})",
       5, Scaling::kNone, 12},
      {"smollm3", "{}", 2e6},
  };
  for (const Case& wanted : kCases) {
    SCOPED_TRACE(std::string(wanted.family) + " " + wanted.changes);
    const auto model = Parse(wanted.family, wanted.changes);
    ASSERT_TRUE(model.ok()) << model.status();
    EXPECT_EQ(model->rope.theta, wanted.theta);
    EXPECT_EQ(model->rope.scaling, wanted.scaling);
    EXPECT_EQ(model->rope.dims, wanted.dims);
  }
}

struct PairCase {
  const char* family;
  const char* changes;
  double full, sliding;
};

TEST(RopeConfigTest, ARopeForEachKindOfAttention) {
  const PairCase kCases[] = {
      {"gemma3_text", "{}", 1e6, 1e4},
      {"gemma3_text", R"({"rope_theta": 777, "rope_local_base_freq": 55})", 777, 55},
      {"gemma3_text",
       R"({"rope_theta": 777, "rope_local_base_freq": 55, "rope_parameters": {
       "full_attention": {"rope_theta": 5}}})",
       5, 55},
      {"gemma3_text",
       R"({"rope_theta": 777, "rope_scaling": {"rope_type": "linear", "factor": 8},
       "rope_parameters": {"full_attention": {"rope_theta": 5},
       "sliding_attention": {"rope_theta": 6}}})",
       5, 6},
      {"olmo3", "{}", 5e5, 5e5},
      {"olmo3", R"({"rope_theta": 500000})", 5e5, 5e5},
      {"olmo3",
       R"({"rope_parameters": {"full_attention": {"rope_theta": 7},
       "sliding_attention": {"rope_theta": 8}}})",
       7, 8},
  };
  for (const PairCase& wanted : kCases) {
    SCOPED_TRACE(std::string(wanted.family) + " " + wanted.changes);
    const auto model = Parse(wanted.family, wanted.changes);
    ASSERT_TRUE(model.ok()) << model.status();
    EXPECT_EQ(model->rope.theta, wanted.full);
    ASSERT_TRUE(model->local_rope.has_value());
    EXPECT_EQ(model->local_rope->theta, wanted.sliding);
    EXPECT_EQ(model->local_rope->scaling, Scaling::kNone);
  }
}

TEST(RopeConfigTest, WhatReadersDifferAboutIsRefused) {
  const std::pair<const char*, const char*> kCases[] = {
      {"llama", R"({"rope_parameters": {"full_attention": {"rope_theta": 5}}})"},
      {"qwen2", R"({"rope_scaling": {"type": "mrope", "mrope_section": [2, 3, 3]}})"},
      {"gemma3_text", R"({"rope_parameters": {"rope_theta": 5}})"},
      {"olmo3", R"({"rope_theta": 777})"},
      {"phi3", R"({"rope_scaling": {"type": "linear", "factor": 2}})"},
  };
  for (const auto& [family, changes] : kCases) {
    EXPECT_EQ(ReasonOf(Parse(family, changes).status()), Reason::kModelUnsupported)
        << family << changes;
  }
}

TEST(RopeConfigTest, TheFactorOfLongRopeIsTheOneThatIsWritten) {
  const std::string rope = R"("short_factor": [1, 1, 1, 1, 1, 1, 1, 1],
      "long_factor": [2, 2, 2, 2, 2, 2, 2, 2], "original_max_position_embeddings": 64)";
  const auto ratio = Parse("llama", R"({"rope_scaling": {"rope_type": "longrope",)" + rope + "}}");
  ASSERT_TRUE(ratio.ok()) << ratio.status();
  EXPECT_EQ(ratio->rope.factor, 4);
  const auto written =
      Parse("llama", R"({"rope_scaling": {"rope_type": "longrope", "factor": 3,)" + rope + "}}");
  ASSERT_TRUE(written.ok()) << written.status();
  EXPECT_EQ(written->rope.factor, 3);
}

}  // namespace
}  // namespace quantd
