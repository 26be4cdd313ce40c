// Names, order of rows and refusals of the families that GGUF files are written of. `./dev interop`
// has llama.cpp run a model of each.
#include "engine/gguf/architectures.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "base/error.h"
#include "engine/gguf/block_types.h"
#include "engine/gguf/gguf_layout.h"
#include "engine/gguf/gguf_reader.h"
#include "engine/gguf/model_keys.h"
#include "engine/gguf/tensor_names.h"
#include "engine/model/registry.h"

namespace quantd {
namespace {

using ::testing::HasSubstr;

// The model of a configuration of one size, with `changes`.
ModelSpec Model(const std::string& family, const Json& changes = Json::object()) {
  Json config = {{"model_type", family},       {"hidden_size", 64},
                 {"num_hidden_layers", 2},     {"num_attention_heads", 4},
                 {"num_key_value_heads", 2},   {"intermediate_size", 96},
                 {"vocab_size", 128},          {"max_position_embeddings", 256},
                 {"num_local_experts", 4},     {"num_experts", 4},
                 {"num_experts_per_tok", 2},   {"moe_intermediate_size", 32},
                 {"norm_topk_prob", true},     {"tie_word_embeddings", true},
                 {"query_pre_attn_scalar", 16}};
  if (family == "falcon" || family == "gpt_neox") config.erase("num_key_value_heads");
  if (family == "gpt_neox") config["tie_word_embeddings"] = false;
  if (family != "falcon" && family != "gpt2" && family != "gpt_neox") config["head_dim"] = 16;
  if (family == "gemma3_text") config["num_hidden_layers"] = 7;
  config.update(changes);
  auto model = FindFamily(family)->parse(config);
  EXPECT_TRUE(model.ok()) << model.status();
  return *std::move(model);
}

std::string NameOfTensor(const ModelSpec& model, const std::string& tensor) {
  const auto name = FindGgufName(model, tensor);
  return name.has_value() ? name->name : "none";
}

TEST(Architectures, HaveTheirNames) {
  const std::string block = "transformer.h.1.";
  const ModelSpec gpt2 = Model("gpt2");
  EXPECT_EQ(NameOfTensor(gpt2, "transformer.wpe.weight"), "position_embd.weight");
  EXPECT_EQ(NameOfTensor(gpt2, block + "attn.c_attn.bias"), "blk.1.attn_qkv.bias");
  EXPECT_EQ(NameOfTensor(gpt2, block + "ln_2.bias"), "blk.1.ffn_norm.bias");
  EXPECT_EQ(NameOfTensor(gpt2, "lm_head.weight"), "none");
  EXPECT_EQ(NameOfTensor(gpt2, block + "attn.bias"), "none");
  const ModelSpec gemma = Model("gemma2");
  EXPECT_EQ(NameOfTensor(gemma, "model.layers.0.pre_feedforward_layernorm.weight"),
            "blk.0.ffn_norm.weight");
  EXPECT_EQ(NameOfTensor(gemma, "model.layers.0.post_attention_layernorm.weight"),
            "blk.0.post_attention_norm.weight");
  EXPECT_EQ(FindGgufName(gemma, "model.norm.weight")->added, 1);
  EXPECT_EQ(NameOfTensor(Model("phi3"), "model.layers.0.mlp.gate_up_proj.weight"),
            "blk.0.ffn_up.weight");
  // Falcon's second norm is attention's, and of one norm both read.
  EXPECT_EQ(NameOfTensor(Model("falcon"), block + "input_layernorm.weight"),
            "blk.1.attn_norm.weight");
  const ModelSpec falcon = Model("falcon", {{"new_decoder_architecture", true}});
  EXPECT_EQ(NameOfTensor(falcon, block + "ln_attn.weight"), "blk.1.attn_norm_2.weight");
  EXPECT_EQ(NameOfTensor(falcon, block + "ln_mlp.bias"), "blk.1.attn_norm.bias");
  const std::string moe = "model.layers.1.block_sparse_moe.";
  const auto expert = FindGgufName(Model("mixtral"), moe + "experts.3.w2.weight");
  EXPECT_EQ(expert->name, "blk.1.ffn_down_exps.weight");
  EXPECT_EQ(expert->expert, 3);
  EXPECT_TRUE(FindGgufName(Model("mixtral"), moe + "gate.weight")->as_float32);
}

// Of two key heads with two queries each, of width 2: q0 q1 k v q2 q3 k v to q0 q1 q2 q3 k k v v.
TEST(Architectures, TakeQKAndVApart) {
  ModelSpec model;
  model.heads = 4;
  model.kv_heads = 2;
  model.head_dim = 2;
  const GgufName name = {.name = "attn_qkv", .rows = GgufName::Rows::kQkvApart};
  EXPECT_EQ(RowPlaces(name, model, 16),
            (std::vector<int32_t>{0, 1, 2, 3, 8, 9, 12, 13, 4, 5, 6, 7, 10, 11, 14, 15}));
  EXPECT_EQ(
      FindGgufName(Model("gpt_neox"), "gpt_neox.layers.0.attention.query_key_value.weight")->rows,
      GgufName::Rows::kQkvApart);
  EXPECT_TRUE(RowPlaces({.name = "attn_v"}, model, 16).empty());
}

// Of the language towers readers want their pictures too; of the others the names of tensors are
// not here yet, but OPT's, which no reader knows.
TEST(Architectures, AllOtherFamiliesAreHeld) {
  for (const Family& family : Families()) {
    const bool known = FindGgufArchitecture(family.name) != nullptr;
    const std::vector<std::string_view> without = {
        "opt",      "llava",      "llava_next",  "gemma3",     "mistral3", "internvl",
        "qwen2_vl", "qwen2_5_vl", "qwen3_vl",    "qwen2_moe",  "granite",  "smollm3",
        "olmo2",    "olmo3",      "glm",         "glm4",       "glm4_moe", "cohere",
        "cohere2",  "exaone4",    "deepseek_v2", "deepseek_v3"};
    EXPECT_EQ(known, std::find(without.begin(), without.end(), family.name) == without.end())
        << family.name;
    if (!known) continue;
    EXPECT_TRUE(CheckModel(Model(std::string(family.name))).ok()) << family.name;
  }
}

void ExpectRefused(const ModelSpec& model, const std::string& where) {
  const absl::Status status = CheckModel(model);
  EXPECT_EQ(ReasonOf(status), Reason::kFormatCannotHold) << where;
  const std::vector<Violation> violations = ViolationsOf(status);
  ASSERT_EQ(violations.size(), 1) << status;
  EXPECT_THAT(violations[0].where, HasSubstr(where));
}

TEST(Architectures, RefuseWhatReadersWouldComputeOtherwise) {
  ExpectRefused(Model("gemma2", {{"query_pre_attn_scalar", 24}}), "query_pre_attn_scalar");
  ExpectRefused(Model("gemma3_text", {{"sliding_window_pattern", 3}}), "layer_types");
  ExpectRefused(Model("gpt_neox", {{"attention_bias", false}}), "query_key_value");
  ExpectRefused(Model("gpt_neox", {{"tie_word_embeddings", true}}), "tie_word_embeddings");
  ExpectRefused(Model("qwen3_moe", {{"norm_topk_prob", false}}), "norm_topk_prob");
  ExpectRefused(Model("qwen3_moe", {{"mlp_only_layers", Json::array({1U})}}), "mlp_only_layers");
  ExpectRefused(Model("falcon", {{"bias", true}}), "query_key_value");
  ExpectRefused(Model("llama", {{"hidden_act", "gelu"}}), "activation");
  const Json yarn = {{"rope_type", "yarn"}, {"factor", 4.0}, {"beta_slow", 2.0}};
  ExpectRefused(Model("qwen2", {{"rope_scaling", yarn}}), "beta_fast");
  const Json llama3 = {{"rope_type", "llama3"},
                       {"factor", 8.0},
                       {"low_freq_factor", 1.0},
                       {"high_freq_factor", 4.0},
                       {"original_max_position_embeddings", 64}};
  EXPECT_TRUE(CheckModel(Model("llama", {{"rope_scaling", llama3}})).ok());
  ExpectRefused(Model("qwen2", {{"rope_scaling", llama3}}), "rope_scaling");
}

// The experts of a block are one tensor of three dimensions, in order, whatever the order in which
// the checkpoint lists them; its factors of longrope are constants.
TEST(Architectures, ExpertsAreStacked) {
  const ModelSpec model = Model("mixtral");
  std::vector<TensorInfo> tensors;
  const BlockType* type = FindBlockType("Q8_0");
  for (const int expert : {2, 0, 3, 1}) {
    const std::string name =
        "model.layers.0.block_sparse_moe.experts." + std::to_string(expert) + ".w1.weight";
    tensors.push_back({name, DType::kU8, {96, 64}, type});
  }
  tensors.push_back({"model.norm.weight", DType::kF32, {64}});
  const auto files = LayOutGguf(model, tensors, {});
  ASSERT_TRUE(files.ok()) << files.status();
  const LaidOutFile* file = &files->front();
  const int64_t bytes = 96 * 64 / 32 * 34, base = file->places[1].begin;
  EXPECT_EQ(file->places[0].begin, base + 2 * bytes);
  EXPECT_EQ(file->places[3].begin, base + bytes);
  std::string whole = file->header;
  whole.resize(static_cast<size_t>(file->size));
  const auto header = ParseGguf(std::as_bytes(std::span(whole)), "test.gguf");
  ASSERT_TRUE(header.ok()) << header.status();
  ASSERT_EQ(header->tensors.size(), 2);
  EXPECT_EQ(header->tensors[0].name, "blk.0.ffn_gate_exps.weight");
  EXPECT_EQ(header->tensors[0].dims, (std::vector<int64_t>{64, 96, 4}));
  EXPECT_EQ(header->tensors[1].offset, file->places[4].begin);
}

// Of three tensors of 64 KiB and four experts of 6.5 KB, at 70,000 bytes a file.
TEST(Architectures, FilesAreCutWhereNoExpertIsMissing) {
  const ModelSpec model = Model("mixtral");
  const std::string prefix = "model.layers.0.block_sparse_moe.experts.";
  std::vector<TensorInfo> tensors = {{model.embedding, DType::kF32, {256, 64}}};
  for (const int expert : {0, 1, 2}) {
    tensors.push_back({prefix + std::to_string(expert) + ".w1.weight",
                       DType::kU8,
                       {96, 64},
                       FindBlockType("Q8_0")});
  }
  tensors.push_back({"model.layers.0.self_attn.v_proj.weight", DType::kF32, {256, 64}});
  tensors.push_back({prefix + "3.w1.weight", DType::kU8, {96, 64}, FindBlockType("Q8_0")});
  tensors.push_back({"model.layers.0.self_attn.o_proj.weight", DType::kF32, {256, 64}});
  KeyValues keys;
  keys.AddText("general.architecture", "llama");
  const auto files = LayOutGguf(model, tensors, keys, 70'000);
  ASSERT_TRUE(files.ok()) << files.status();
  ASSERT_EQ(files->size(), 3);
  EXPECT_EQ((*files)[0].places.size(), 1);
  EXPECT_EQ((*files)[1].places.size(), 5);
  EXPECT_EQ((*files)[2].places.size(), 1);
  for (size_t i = 0; i < 3; ++i) {
    std::string whole = (*files)[i].header;
    whole.resize(static_cast<size_t>((*files)[i].size));
    const auto header = ParseGguf(std::as_bytes(std::span(whole)), "test.gguf");
    ASSERT_TRUE(header.ok()) << header.status();
    EXPECT_EQ(header->Integer("split.no"), i);
    EXPECT_EQ(header->Integer("split.count"), 3);
    EXPECT_EQ(header->Integer("split.tensors.count"), 4);
    EXPECT_EQ(header->metadata.at("split.no").type, GgufType::kU16);
    EXPECT_EQ(header->metadata.at("split.tensors.count").type, GgufType::kI32);
    EXPECT_EQ(header->String("general.architecture").has_value(), i == 0);
  }
}

TEST(Architectures, RopeFactorsAreTensors) {
  RopeSpec rope;
  rope.scaling = RopeSpec::Scaling::kLongRope;
  rope.short_factors = {1, 2};
  rope.long_factors = {3, 4};
  const auto factors = RopeFactors(rope);
  ASSERT_EQ(factors.size(), 2);
  EXPECT_EQ(factors[0].name, "rope_factors_long.weight");
  EXPECT_EQ(factors[0].values, (std::vector<float>{3, 4}));
  EXPECT_EQ(factors[1].values, (std::vector<float>{1, 2}));
}

}  // namespace
}  // namespace quantd
