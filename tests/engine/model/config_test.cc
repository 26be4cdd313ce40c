#include <string>
#include <vector>

#include "base/error.h"
#include "base/files.h"
#include "base/json.h"
#include "engine/model/registry.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/engine/open_model.h"
#include "tests/paths.h"

namespace quantd {
namespace {

// A config of a small model of the family with `changes` laid over it; a null value removes
// nothing, it stays null.
absl::StatusOr<ModelSpec> Parse(std::string_view family, const std::string& changes = "{}") {
  Json config = *ParseJson(
      R"({"architectures": ["TestForCausalLM"], "hidden_size": 64, "intermediate_size": 96,
      "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 128})",
      "base");
  const Json laid = *ParseJson(changes, "changes");
  for (const auto& [key, value] : laid.items()) config[key] = value;
  for (const Family& row : Families()) {
    if (row.name == family) return row.parse(config);
  }
  return MakeError(Reason::kInternal, "no such family");
}

TEST(ConfigTest, LlamaShape) {
  const auto model = Parse("llama");
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ(model->family, "llama");
  EXPECT_EQ(model->head_dim, 16);
  EXPECT_EQ(model->norm_epsilon, 1e-6);
  EXPECT_FALSE(model->tied_embeddings);
  EXPECT_EQ(model->head_tensor, "lm_head.weight");
  ASSERT_EQ(model->blocks.size(), 3U);
  const BlockSpec& block = model->blocks[1];
  EXPECT_EQ(block.prefix, "model.layers.1.");
  EXPECT_EQ(block.norm(NormRole::kAttention).gain, "model.layers.1.input_layernorm.weight");
  EXPECT_FALSE(block.Has(NormRole::kQ));
  EXPECT_EQ(block.NormTensors().size(), 2U);
  EXPECT_FALSE(block.sliding_window.has_value());
  const LinearSpec* k = block.Find(LinearRole::kK);
  ASSERT_NE(k, nullptr);
  EXPECT_EQ(k->name, "model.layers.1.self_attn.k_proj");
  EXPECT_EQ(k->out_features, 32);
  EXPECT_EQ(k->in_features, 64);
  EXPECT_FALSE(k->has_bias);
  EXPECT_EQ(k->block, 1);
  EXPECT_EQ(block.Find(LinearRole::kQ)->input, k->input);
  EXPECT_NE(block.Find(LinearRole::kO)->input, k->input);
  EXPECT_EQ(block.Find(LinearRole::kHead), nullptr);
  EXPECT_EQ(model->Linears().size(), 3U * 7U + 1U);
  EXPECT_EQ(model->Linears().back()->role, LinearRole::kHead);
}

TEST(ConfigTest, TiedEmbeddings) {
  const auto model = Parse("llama", R"({"tie_word_embeddings": true})");
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ(model->head_tensor, model->embedding);
}

std::vector<bool> Biases(const ModelSpec& model) {
  std::vector<bool> biases;
  for (const LinearSpec& linear : model.blocks[0].linears) biases.push_back(linear.has_bias);
  return biases;
}

TEST(ConfigTest, Biases) {
  const std::vector<bool> none(7, false), qkv = {true, true, true, false, false, false, false},
                                          attention = {true, true, true, true, false, false, false},
                                          all(7, true);
  EXPECT_EQ(Biases(*Parse("llama")), none);
  EXPECT_EQ(Biases(*Parse("llama", R"({"attention_bias": true})")), attention);
  EXPECT_EQ(Biases(*Parse("llama", R"({"attention_bias": true, "mlp_bias": true})")), all);
  EXPECT_EQ(Biases(*Parse("mistral", R"({"attention_bias": true})")), none);
  EXPECT_EQ(Biases(*Parse("qwen2")), qkv);
  EXPECT_EQ(Biases(*Parse("qwen3")), none);
  EXPECT_EQ(Biases(*Parse("qwen3", R"({"attention_bias": true})")), attention);
}

TEST(ConfigTest, HeadsThatTheConfigLeavesOut) {
  EXPECT_EQ(Parse("qwen3")->head_dim, 128);
  EXPECT_EQ(Parse("qwen3", R"({"head_dim": 32})")->head_dim, 32);
  EXPECT_EQ(Parse("llama", R"({"head_dim": null})")->head_dim, 16);
  EXPECT_EQ(Parse("llama", R"({"num_key_value_heads": null})")->kv_heads, 4);
  EXPECT_EQ(Parse("mistral", R"({"num_key_value_heads": null})")->kv_heads, 4);
}

using Windows = std::vector<int64_t>;  // 0: none

Windows WindowsOf(const absl::StatusOr<ModelSpec>& model) {
  Windows windows;
  if (!model.ok()) return {-1};
  for (const BlockSpec& block : model->blocks) windows.push_back(block.sliding_window.value_or(0));
  return windows;
}

TEST(ConfigTest, SlidingWindows) {
  EXPECT_EQ(WindowsOf(Parse("llama", R"({"sliding_window": 7})")), (Windows{0, 0, 0}));
  EXPECT_EQ(WindowsOf(Parse("mistral")), (Windows{4096, 4096, 4096}));
  EXPECT_EQ(WindowsOf(Parse("mistral", R"({"sliding_window": 7})")), (Windows{7, 7, 7}));
  EXPECT_EQ(WindowsOf(Parse("mistral", R"({"sliding_window": null})")), (Windows{0, 0, 0}));
  for (const char* family : {"qwen2", "qwen3"}) {
    EXPECT_EQ(WindowsOf(Parse(family, R"({"sliding_window": 7, "max_window_layers": 1})")),
              (Windows{0, 0, 0}));
    EXPECT_EQ(WindowsOf(Parse(
                  family,
                  R"({"use_sliding_window": true, "sliding_window": 7, "max_window_layers": 1})")),
              (Windows{0, 7, 7}));
    EXPECT_EQ(
        WindowsOf(Parse(family, R"({"use_sliding_window": true, "sliding_window": 7, "layer_types":
                  ["sliding_attention", "full_attention", "sliding_attention"]})")),
        (Windows{7, 0, 7}));
  }
}

TEST(ConfigTest, HostileValuesAreCorrupt) {
  const char* const kHostile[] = {
      R"({"hidden_size": 0})",
      R"({"hidden_size": -64})",
      R"({"hidden_size": 1048577})",
      R"({"hidden_size": 64.5})",
      R"({"hidden_size": "64"})",
      R"({"hidden_size": null})",
      R"({"hidden_size": 18446744073709551615})",
      R"({"hidden_size": 65})",
      R"({"intermediate_size": 0})",
      R"({"intermediate_size": 9223372036854775807})",
      R"({"num_attention_heads": 0})",
      R"({"num_attention_heads": 3})",
      R"({"num_attention_heads": 65537})",
      R"({"num_key_value_heads": 3})",
      R"({"num_key_value_heads": 0})",
      R"({"num_key_value_heads": 8})",
      R"({"num_hidden_layers": 0})",
      R"({"num_hidden_layers": 4097})",
      R"({"num_hidden_layers": []})",
      R"({"vocab_size": 0})",
      R"({"vocab_size": 16777217})",
      R"({"head_dim": 0})",
      R"({"head_dim": 7})",
      R"({"head_dim": 1026})",
      R"({"head_dim": true})",
      R"({"rms_norm_eps": 0})",
      R"({"rms_norm_eps": -1e-5})",
      R"({"rms_norm_eps": 2})",
      R"({"rms_norm_eps": "x"})",
      R"({"rope_theta": 0})",
      R"({"rope_scaling": 3})",
      R"({"max_position_embeddings": 0})",
      R"({"tie_word_embeddings": "yes"})",
      R"({"architectures": "Llama"})",
      R"({"architectures": [1]})",
      R"({"attention_bias": 1})",
      R"({"hidden_act": 5})",
      R"({"rope_scaling": {"rope_type": "llama3", "factor": 8, "low_freq_factor": 4, "high_freq_factor": 1}})"};
  for (const char* changes : kHostile) {
    const auto model = Parse("llama", changes);
    EXPECT_EQ(ReasonOf(model.status()), Reason::kModelCorrupt) << changes << " " << model.status();
    EXPECT_FALSE(ViolationsOf(model.status()).empty()) << changes;
  }
  for (const char* changes : {R"({"use_sliding_window": true, "layer_types": ["full_attention"]})",
                              R"({"use_sliding_window": true, "layer_types": ["a", "b", "c"]})",
                              R"({"use_sliding_window": true, "sliding_window": 0})",
                              R"({"use_sliding_window": true, "sliding_window": -3})"}) {
    EXPECT_EQ(ReasonOf(Parse("qwen2", changes).status()), Reason::kModelCorrupt) << changes;
  }
}

TEST(ConfigTest, EveryProblemIsNamed) {
  const auto model = Parse("llama", R"({"hidden_size": 0, "vocab_size": -1, "rms_norm_eps": 7})");
  std::vector<std::string> places;
  for (const Violation& violation : ViolationsOf(model.status())) places.push_back(violation.where);
  EXPECT_THAT(places, testing::IsSupersetOf({testing::HasSubstr("hidden_size"),
                                             testing::HasSubstr("vocab_size"),
                                             testing::HasSubstr("rms_norm_eps")}));
}

TEST(ConfigTest, WhatWeLackIsUnsupported) {
  for (const char* changes :
       {R"({"hidden_act": "relu2"})", R"({"quantization_config": {"quant_method": "gptq"}})",
        R"({"rope_scaling": {"rope_type": "dynamic", "factor": 2}})",
        R"({"rope_scaling": {"type": "proportional"}})", R"({"partial_rotary_factor": 0.5})",
        R"({"architectures": ["LlamaForSequenceClassification"]})"}) {
    EXPECT_EQ(ReasonOf(Parse("llama", changes).status()), Reason::kModelUnsupported) << changes;
  }
}

// The whole reader, on a folder with a changed config.json beside a real checkpoint.
class ReadModelSpecTest : public testing::Test {
 protected:
  inline static const std::string kModel = SourcePath("tests/golden/models/llama");

  absl::StatusOr<ModelSpec> Read(const std::string& config) {
    const auto folder = TemporaryFolder::Create("config");
    EXPECT_TRUE(folder.ok());
    EXPECT_TRUE(WriteFileAtomic(folder->path() + "/config.json", config).ok());
    const auto checkpoint = OpenCheckpoint(kModel);
    EXPECT_TRUE(checkpoint.ok()) << checkpoint.status();
    return ReadModelSpec(**OpenModelFolder(folder->path()), *checkpoint);
  }
  absl::StatusOr<ModelSpec> ReadChanged(const std::string& changes) {
    Json config =
        *ParseJson(*ReadFile(std::string(kModel) + "/config.json", 1 << 20), "config.json");
    const Json laid = *ParseJson(changes, "changes");
    for (const auto& [key, value] : laid.items()) config[key] = value;
    return Read(DumpJson(config));
  }
};

TEST_F(ReadModelSpecTest, Unchanged) {
  const auto model = ReadChanged("{}");
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ(model->dtype, DType::kF32);
  EXPECT_EQ(model->architecture, "LlamaForCausalLM");
  EXPECT_EQ(model->parameters,
            2 * 128 * 64 + 64 + 2 * (2 * 64 + 2 * 64 * 64 + 2 * 32 * 64 + 3 * 64 * 96));
}

TEST_F(ReadModelSpecTest, TheDTypeComesUnderEitherName) {
  EXPECT_EQ(ReadChanged(R"({"dtype": null, "torch_dtype": "bfloat16"})")->dtype, DType::kBF16);
  EXPECT_EQ(ReadChanged(R"({"dtype": "float16"})")->dtype, DType::kF16);
  EXPECT_EQ(ReadChanged(R"({"dtype": null})")->dtype, DType::kF32);
  for (const char* changes :
       {R"({"dtype": "float8_e4m3fn"})", R"({"dtype": "int8"})", R"({"dtype": "nonsense"})"}) {
    EXPECT_EQ(ReasonOf(ReadChanged(changes).status()), Reason::kModelUnsupported) << changes;
  }
}

TEST_F(ReadModelSpecTest, AnUnknownFamilyHasLinearsByNameAndCannotRun) {
  for (const char* changes :
       {R"({"model_type": "t5"})", R"({"model_type": null})", R"({"model_type": 4})"}) {
    const auto model = ReadChanged(changes);
    ASSERT_TRUE(model.ok()) << model.status();
    ASSERT_EQ(model->blocks.size(), 2U);
    EXPECT_EQ(model->blocks[1].prefix, "model.layers.1.");
    EXPECT_EQ(model->Linears().size(), 2U * 7U + 1U);
    EXPECT_EQ(model->Linears().back()->name, "lm_head");
    EXPECT_EQ(model->dtype, DType::kF32);
    const absl::Status status = CheckRunnable(*model);
    EXPECT_EQ(ReasonOf(status), Reason::kModelUnsupported) << changes;
    for (const Family& family : Families()) {
      EXPECT_THAT(std::string(status.message()), testing::HasSubstr(std::string(family.name)));
    }
  }
}

TEST_F(ReadModelSpecTest, TensorsThatContradictTheConfigAreCorrupt) {
  for (const char* changes :
       {R"({"num_hidden_layers": 3})", R"({"vocab_size": 127})", R"({"intermediate_size": 64})",
        R"({"num_key_value_heads": 4})", R"({"attention_bias": true})", R"({"hidden_size": 32})",
        R"({"head_dim": 32})", R"({"model_type": "qwen2"})", R"({"model_type": "qwen3"})"}) {
    EXPECT_EQ(ReasonOf(ReadChanged(changes).status()), Reason::kModelCorrupt) << changes;
  }
}

TEST_F(ReadModelSpecTest, AQuantizedModelIsRefusedUnlessItIsReadAsFloats) {
  const absl::Status status =
      ReadChanged(R"({"quantization_config": {"quant_method": "hqq"}})").status();
  EXPECT_EQ(ReasonOf(status), Reason::kModelUnsupported);
  EXPECT_THAT(std::string(status.message()), testing::HasSubstr("quantized already"));
  const auto fp8 = ReadChanged(R"({"quantization_config": {"quant_method": "fp8"}})");
  EXPECT_TRUE(fp8.ok()) << fp8.status();
}

TEST_F(ReadModelSpecTest, AnUnknownFamilyThatIsQuantizedIsRefused) {
  const absl::Status status =
      ReadChanged(R"({"model_type": "t5", "quantization_config": {"quant_method": "hqq"}})")
          .status();
  EXPECT_EQ(ReasonOf(status), Reason::kModelUnsupported);
  EXPECT_THAT(std::string(status.message()), testing::HasSubstr("quantized already"));
}

// As transformers 5: bytes tell, not the config.
TEST_F(ReadModelSpecTest, AHeadThatIsNotTheEmbeddingIsKept) {
  const auto model = ReadChanged(R"({"tie_word_embeddings": true})");
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ(model->head_tensor, "lm_head.weight");
  EXPECT_FALSE(model->tied_embeddings);
  EXPECT_TRUE(model->untied_by_content);
}

// What the forward pass lacks does not hinder methods that look at weights alone.
TEST_F(ReadModelSpecTest, AModelWithWhatWeLackHasLinearsByNameAndCannotRun) {
  for (const char* changes :
       {R"({"rope_scaling": {"rope_type": "dynamic", "factor": 2}})",
        R"({"rope_parameters": {"rope_type": "novel"}})", R"({"hidden_act": "relu2"})",
        R"({"architectures": ["LlamaForSequenceClassification"]})"}) {
    const auto model = ReadChanged(changes);
    ASSERT_TRUE(model.ok()) << changes << model.status();
    EXPECT_EQ(model->Linears().size(), 2U * 7U + 1U) << changes;
    EXPECT_THAT(model->dense_modules, testing::ElementsAre("model.embed_tokens"));
    const absl::Status status = CheckRunnable(*model);
    EXPECT_EQ(ReasonOf(status), Reason::kModelUnsupported) << changes;
    EXPECT_THAT(std::string(status.message()), testing::HasSubstr("methods that look at weights"));
    EXPECT_THAT(ViolationsOf(status), testing::SizeIs(1));
  }
}

TEST_F(ReadModelSpecTest, WordsThatPythonWritesForFloatsAreRead) {
  const auto model = Read(R"({"model_type": "llama", "hidden_size": 64, "intermediate_size": 96,
      "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
      "vocab_size": 128, "time_step_limit": [0.0, Infinity, -Infinity, NaN],
      "note": "NaN \"Infinity\""})");
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_TRUE(model->runnable);
}

TEST_F(ReadModelSpecTest, FilesThatAreNoConfig) {
  EXPECT_EQ(ReasonOf(Read("").status()), Reason::kModelCorrupt);
  EXPECT_EQ(ReasonOf(Read("[]").status()), Reason::kModelCorrupt);
  EXPECT_EQ(ReasonOf(Read("{\"a\": 1").status()), Reason::kModelCorrupt);
  EXPECT_EQ(ReasonOf(Read(std::string(1 << 16, '[')).status()), Reason::kModelCorrupt);
  const auto checkpoint = OpenCheckpoint(kModel);
  const auto empty = TemporaryFolder::Create("config-test");
  EXPECT_EQ(ReasonOf(ReadModelSpec(**OpenModelFolder(empty->path()), *checkpoint).status()),
            Reason::kModelNotFound);
}

}  // namespace
}  // namespace quantd
