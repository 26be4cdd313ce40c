#include "engine/gguf/mixture.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "engine/gguf/block_types.h"
#include "engine/gguf/pre_tokenizer.h"

namespace quantd {
namespace {

ModelSpec Model(size_t blocks, int64_t heads, int64_t kv_heads) {
  ModelSpec model;
  model.family = "llama";
  model.heads = heads;
  model.kv_heads = kv_heads;
  model.blocks.resize(blocks);
  return model;
}

std::string TypeOf(std::string_view mixture, const ModelSpec& model, LinearRole role, int block) {
  LinearSpec linear;
  linear.role = role;
  linear.block = block;
  linear.in_features = 4096;
  return std::string(TypeFor(*FindMixture(mixture), model, linear).name);
}

TEST(Mixture, MoreBitsLieInTheFirstAndLastEighthAndEveryThird) {
  const ModelSpec model = Model(32, 32, 8);
  std::vector<int> more;
  for (int block = 0; block < 32; ++block) {
    if (TypeOf("Q4_K_M", model, LinearRole::kDown, block) == "Q6_K") more.push_back(block);
  }
  EXPECT_EQ(more, (std::vector<int>{0, 1, 2, 3, 6, 9, 12, 15, 18, 21, 24, 27, 28, 29, 30, 31}));
}

TEST(Mixture, FalconAndEightExpertsHaveRulesOfTheirOwn) {
  ModelSpec falcon = Model(32, 71, 1);
  falcon.family = "falcon";
  EXPECT_EQ(TypeOf("Q4_K_M", falcon, LinearRole::kHead, -1), "Q8_0");
  EXPECT_EQ(TypeOf("Q4_K_M", falcon, LinearRole::kQkv, 9), "Q5_K");
  EXPECT_EQ(TypeOf("Q4_K_M", falcon, LinearRole::kDown, 1), "Q6_K");
  EXPECT_EQ(TypeOf("Q4_K_M", falcon, LinearRole::kDown, 2), "Q5_K");
  EXPECT_EQ(TypeOf("Q4_K_M", falcon, LinearRole::kDown, 4), "Q4_K");
  EXPECT_EQ(TypeOf("Q3_K_M", falcon, LinearRole::kO, 4), "Q3_K");
  ModelSpec eight = Model(32, 32, 8);
  eight.blocks[0].mixture.emplace();
  eight.blocks[0].mixture->experts = 8;
  eight.blocks[0].mixture->top_k = 2;
  EXPECT_EQ(TypeOf("Q4_K_M", eight, LinearRole::kV, 5), "Q8_0");
  EXPECT_EQ(TypeOf("Q4_K_M", eight, LinearRole::kK, 5), "Q8_0");
  EXPECT_EQ(TypeOf("Q4_K_M", eight, LinearRole::kO, 5), "Q5_K");
  EXPECT_EQ(TypeOf("Q4_K_M", eight, LinearRole::kQ, 5), "Q4_K");
  EXPECT_EQ(TypeOf("BF16", eight, LinearRole::kV, 5), "BF16");
}

TEST(Mixture, RolesHaveTheirTypes) {
  const ModelSpec shared = Model(32, 32, 8), own = Model(32, 32, 32);
  EXPECT_EQ(TypeOf("Q2_K", shared, LinearRole::kV, 5), "Q4_K");
  EXPECT_EQ(TypeOf("Q2_K", own, LinearRole::kV, 5), "Q3_K");
  EXPECT_EQ(TypeOf("Q2_K", own, LinearRole::kO, 5), "Q3_K");
  EXPECT_EQ(TypeOf("Q3_K_M", own, LinearRole::kV, 1), "Q5_K");
  EXPECT_EQ(TypeOf("Q3_K_M", own, LinearRole::kV, 2), "Q4_K");
  EXPECT_EQ(TypeOf("Q3_K_L", own, LinearRole::kO, 2), "Q5_K");
  EXPECT_EQ(TypeOf("Q4_K_S", own, LinearRole::kV, 3), "Q5_K");
  EXPECT_EQ(TypeOf("Q4_K_S", own, LinearRole::kV, 4), "Q4_K");
  EXPECT_EQ(TypeOf("Q4_K", own, LinearRole::kV, 0), "Q4_K");
  EXPECT_EQ(TypeOf("Q4_0", own, LinearRole::kHead, -1), "Q6_K");
  EXPECT_EQ(TypeOf("Q8_0", own, LinearRole::kHead, -1), "Q8_0");
  EXPECT_EQ(TypeOf("F16", own, LinearRole::kHead, -1), "F16");
  EXPECT_EQ(TypeOf("Q4_K_M", own, LinearRole::kEmbedding, -1), "Q4_K");
  ModelSpec tied = own;
  tied.tied_embeddings = true;
  EXPECT_EQ(TypeOf("Q4_K_M", tied, LinearRole::kEmbedding, -1), "Q6_K");
  EXPECT_EQ(TypeOf("Q4_K_M", Model(80, 64, 8), LinearRole::kV, 11), "Q5_K");
}

TEST(Mixture, TypesThatDoNotFitGiveWay) {
  const auto fitting = [](std::string_view type, int64_t columns) {
    return std::string(FittingType(*FindBlockType(type), columns).name);
  };
  EXPECT_EQ(fitting("Q4_K", 512), "Q4_K");
  EXPECT_EQ(fitting("Q2_K", 640), "Q4_0");
  EXPECT_EQ(fitting("Q3_K", 640), "Q4_0");
  EXPECT_EQ(fitting("Q4_K", 640), "Q5_0");
  EXPECT_EQ(fitting("Q5_K", 640), "Q5_1");
  EXPECT_EQ(fitting("Q6_K", 640), "Q8_0");
  EXPECT_EQ(fitting("Q6_K", 650), "F16");
  EXPECT_EQ(fitting("Q8_0", 650), "F16");
}

TEST(PreTokenizer, HasANameForThePatternsOfTheFamilies) {
  const auto name = [](const char* json) { return PreTokenizerName(*ParseJson(json, "test")); };
  EXPECT_EQ(name(R"({"type": "ByteLevel", "use_regex": true})"), "gpt-2");
  EXPECT_EQ(name(R"({"type": "Sequence", "pretokenizers": [{"type": "Split", "pattern": {"Regex":
      "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"}},
      {"type": "ByteLevel", "use_regex": false}]})"),
            "llama-bpe");
  EXPECT_EQ(name(R"({"type": "Sequence", "pretokenizers": [{"type": "Split", "pattern": {"Regex":
      "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"}},
      {"type": "ByteLevel", "use_regex": false}]})"),
            "qwen2");
  EXPECT_EQ(name(R"({"type": "Split", "pattern": {"Regex": "[a-z]+"}})"), "");
}

}  // namespace
}  // namespace quantd
