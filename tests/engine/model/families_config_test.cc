// What the configs of the families beside the llama shape mean, and what of them is refused.
#include <string>
#include <vector>

#include "base/error.h"
#include "base/files.h"
#include "base/json.h"
#include "engine/model/registry.h"
#include "engine/model/scaling_groups.h"
#include "engine/model/tensor_names.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/paths.h"

namespace quantd {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

// The config of a golden model with `changes` laid over it; a key that is null is removed.
absl::StatusOr<ModelSpec> Parse(const std::string& variant, const std::string& changes = "{}") {
  const std::string path = SourcePath("tests/golden/models/") + variant + "/config.json";
  Json config = *ParseJson(*ReadFile(path, 1 << 20), path);
  const Json laid = *ParseJson(changes, "changes");
  for (const auto& [key, value] : laid.items()) {
    if (value.is_null()) {
      config.erase(key);
    } else {
      config[key] = value;
    }
  }
  return FindFamily(config.at("model_type").get<std::string>())->parse(config);
}

TEST(FamiliesConfigTest, WhatWeLackIsRefused) {
  const std::pair<const char*, const char*> kLacking[] = {
      {"opt", R"({"do_layer_norm_before": false})"},
      {"opt", R"({"word_embed_proj_dim": 16})"},
      {"opt", R"({"layer_norm_elementwise_affine": false})"},
      {"falcon-grouped", R"({"alibi": true})"},
      {"gpt2", R"({"scale_attn_by_inverse_layer_idx": true})"},
      {"gpt2", R"({"add_cross_attention": true})"},
      {"gemma3_text", R"({"use_bidirectional_attention": true})"},
      {"gpt_neox", R"({"hidden_act": "quick_gelu"})"},
      {"mixtral", R"({"quantization_config": {"quant_method": "awq"}})"},
      {"llava", R"({"quantization_config": {"quant_method": "gptq"}})"},
      {"llava", R"({"text_config": {"model_type": "novel"}})"},
      {"llava", R"({"text_config": {"model_type": "llava"}})"},
  };
  for (const auto& [variant, changes] : kLacking) {
    EXPECT_EQ(ReasonOf(Parse(variant, changes).status()), Reason::kModelUnsupported)
        << variant << " " << changes;
  }
}

TEST(FamiliesConfigTest, HostileValuesAreCorrupt) {
  const std::pair<const char*, const char*> kHostile[] = {
      {"opt", R"({"ffn_dim": null})"},
      {"opt", R"({"num_attention_heads": 5})"},
      {"gpt2", R"({"n_embd": "32"})"},
      {"gpt2", R"({"n_layer": 0})"},
      {"gpt2", R"({"n_inner": -1})"},
      {"gpt_neox", R"({"rotary_pct": 3})"},
      {"gpt_neox", R"({"rotary_pct": 0.4})"},
      {"gpt_neox", R"({"rotary_emb_base": "x"})"},
      {"falcon-grouped", R"({"num_kv_heads": 3})"},
      {"falcon-grouped", R"({"num_ln_in_parallel_attn": 3})"},
      {"gemma2", R"({"query_pre_attn_scalar": -1})"},
      {"gemma2", R"({"layer_types": ["sliding_attention"]})"},
      {"gemma3_text", R"({"rope_local_base_freq": -5})"},
      {"phi3", R"({"rope_scaling": {"type": "longrope", "short_factor": [1], "long_factor": 2}})"},
      {"mixtral", R"({"num_experts_per_tok": 5})"},
      {"mixtral", R"({"num_local_experts": 0})"},
      {"qwen3_moe", R"({"mlp_only_layers": [2]})"},
      {"qwen3_moe", R"({"mlp_only_layers": ["a"]})"},
      {"qwen3_moe", R"({"mlp_only_layers": 7})"},
      {"llava", R"({"text_config": null})"},
      {"llava", R"({"text_config": 3})"},
  };
  for (const auto& [variant, changes] : kHostile) {
    const auto model = Parse(variant, changes);
    EXPECT_EQ(ReasonOf(model.status()), Reason::kModelCorrupt)
        << variant << " " << changes << " " << model.status();
  }
}

TEST(FamiliesConfigTest, OldSpellingsMeanTheSame) {
  const auto falcon = Parse("falcon-grouped", R"({"num_attention_heads": null, "n_head": 4,
      "num_hidden_layers": null, "n_layer": 2, "num_kv_heads": null, "n_head_kv": 2})");
  ASSERT_TRUE(falcon.ok()) << falcon.status();
  EXPECT_EQ(falcon->heads, 4);
  EXPECT_EQ(falcon->kv_heads, 2);
  EXPECT_THAT(falcon->blocks, SizeIs(2));
  const auto gpt2 = Parse("gpt2", R"({"n_embd": null, "hidden_size": 32, "n_head": null,
      "num_attention_heads": 4, "n_layer": null, "num_hidden_layers": 2, "n_inner": null})");
  ASSERT_TRUE(gpt2.ok()) << gpt2.status();
  EXPECT_EQ(gpt2->hidden, 32);
  EXPECT_EQ(gpt2->intermediate, 128);
}

TEST(FamiliesConfigTest, Gemma3HasARopeForEachKindOfAttention) {
  const auto model = Parse("gemma3_text");
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ(model->rope.theta, 1e6);
  EXPECT_EQ(model->rope.factor, 4.0);
  ASSERT_TRUE(model->local_rope.has_value());
  EXPECT_EQ(model->local_rope->theta, 1e4);
  EXPECT_EQ(model->local_rope->scaling, RopeSpec::Scaling::kNone);
  EXPECT_TRUE(model->blocks[0].local_rope);
  EXPECT_FALSE(model->blocks[1].local_rope);
  const auto newer = Parse("gemma3_text", R"({"rope_scaling": null, "rope_theta": null,
      "rope_local_base_freq": null, "rope_parameters": {
      "full_attention": {"rope_type": "linear", "factor": 4.0, "rope_theta": 1000000.0},
      "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0}}})");
  ASSERT_TRUE(newer.ok()) << newer.status();
  EXPECT_EQ(newer->rope.theta, 1e6);
  EXPECT_EQ(newer->rope.factor, 4.0);
  EXPECT_EQ(newer->local_rope->theta, 1e4);
}

TEST(FamiliesConfigTest, GemmaWindowsFollowThePattern) {
  const auto windows = [](const absl::StatusOr<ModelSpec>& model) {
    std::vector<bool> slides;
    for (const BlockSpec& block : model->blocks) slides.push_back(block.sliding_window.has_value());
    return slides;
  };
  EXPECT_THAT(windows(Parse("gemma2", R"({"layer_types": null, "num_hidden_layers": 4})")),
              ElementsAre(true, false, true, false));
  EXPECT_THAT(windows(Parse("gemma3_text", R"({"layer_types": null, "num_hidden_layers": 7})")),
              ElementsAre(true, true, true, true, true, false, true));
}

TEST(FamiliesConfigTest, ATowerThatLeavesItsShapeOutHasThatOfItsFamily) {
  const auto model =
      Parse("llava", R"({"text_config": {"model_type": "llama", "vocab_size": 32064}})");
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ(model->family, "llava");
  EXPECT_EQ(model->hidden, 4096);
  EXPECT_EQ(model->vocabulary, 32064);
  EXPECT_THAT(model->blocks, SizeIs(32));
}

TEST(FamiliesConfigTest, NamesUnderOtherPrefixes) {
  auto model = *Parse("llava");
  AdoptNames({"model.language_model.embed_tokens.weight", "lm_head.weight",
              "model.vision_tower.layer.weight", "model.multi_modal_projector.linear_1.weight"},
             model);
  EXPECT_EQ(model.blocks[1].linears[0].name, "model.language_model.layers.1.self_attn.q_proj");
  EXPECT_EQ(model.head.name, "lm_head");
  EXPECT_THAT(model.carried_modules,
              ElementsAre("multi_modal_projector", "vision_tower", "lm_head"));
  auto old = *Parse("llava");
  AdoptNames({"language_model.model.embed_tokens.weight", "language_model.lm_head.weight",
              "vision_tower.layer.weight"},
             old);
  EXPECT_EQ(old.blocks[1].norm(NormRole::kMlp).gain,
            "language_model.model.layers.1.post_attention_layernorm.weight");
  EXPECT_EQ(old.head_tensor, "language_model.lm_head.weight");
  auto gpt2 = *Parse("gpt2");
  AdoptNames({"wte.weight"}, gpt2);
  EXPECT_EQ(gpt2.blocks[0].linears[0].name, "h.0.attn.c_attn");
  EXPECT_EQ(gpt2.positions, "wpe.weight");
  EXPECT_THAT(gpt2.carried_modules, SizeIs(0));
}

// "norm or source -> readers" of every group of the last block.
std::vector<std::string> GroupsOf(const std::string& variant) {
  const ModelSpec model = *Parse(variant);
  const BlockSpec& block = model.blocks.back();
  std::vector<std::string> texts;
  for (const ScalingGroup& group : ScalingGroupsOf(model, block)) {
    std::string text = "norm";
    if (group.source >= 0) text = NameOf(block.linears[static_cast<size_t>(group.source)].role);
    text += " ->";
    for (const int position : group.linears) {
      text += " " + std::string(NameOf(block.linears[static_cast<size_t>(position)].role));
    }
    texts.push_back(text);
  }
  return texts;
}

TEST(ScalingGroupsTest, AreThoseThatTheMathematicsAllows) {
  EXPECT_THAT(GroupsOf("llama"),
              ElementsAre("norm -> q k v", "v -> o", "norm -> gate up", "up -> down"));
  EXPECT_THAT(GroupsOf("phi3"),
              ElementsAre("norm -> qkv", "qkv -> o", "norm -> gate_up", "gate_up -> down"));
  // Nothing goes through a GELU without a gate; a ReLU lets scales through.
  EXPECT_THAT(GroupsOf("gpt2"), ElementsAre("norm -> qkv", "qkv -> o", "norm -> up"));
  EXPECT_THAT(GroupsOf("opt"), ElementsAre("norm -> q k v", "v -> o", "norm -> up", "up -> down"));
  // One norm before attention and MLP.
  EXPECT_THAT(GroupsOf("falcon-multi-query"), ElementsAre("norm -> qkv up", "qkv -> o"));
  EXPECT_THAT(GroupsOf("falcon-grouped"), ElementsAre("norm -> qkv", "qkv -> o", "norm -> up"));
  EXPECT_THAT(
      GroupsOf("qwen3_moe-normalized"),
      ElementsAre("norm -> q k v", "v -> o", "norm -> router gate up gate up gate up gate up",
                  "up -> down", "up -> down", "up -> down", "up -> down"));
}

}  // namespace
}  // namespace quantd
