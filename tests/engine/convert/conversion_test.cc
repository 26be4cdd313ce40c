// Conversions there and back: the bytes of the codes, the bits of the weights, and refusals.
#include "engine/convert/conversion.h"

#include <functional>
#include <map>
#include <random>

#include "base/error.h"
#include "engine/convert/stored_rows.h"
#include "engine/inspect/inspection.h"
#include "engine/inspect/model_source.h"
#include "engine/inspect/stored_linears.h"
#include "engine/tensor/checkpoint.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/engine/inspect/model_folder.h"
#include "tests/engine/open_model.h"
#include "tests/paths.h"

namespace quantd {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

std::vector<uint32_t> RandomWords(size_t count, std::mt19937& random,
                                  const std::function<bool(uint32_t)>& nibble_allowed) {
  std::vector<uint32_t> words(count, 0);
  for (uint32_t& word : words) {
    for (int i = 0; i < 8; ++i) {
      uint32_t nibble = random() % 16;
      while (!nibble_allowed(nibble)) nibble = random() % 16;
      word |= nibble << (4 * i);
    }
  }
  return words;
}

// Scales of both signs, exact in 16 bit.
HandMadeTensor Scales(const std::string& name, DType dtype, std::vector<int64_t> shape,
                      std::mt19937& random) {
  int64_t count = 1;
  for (const int64_t size : shape) count *= size;
  std::vector<float> values;
  for (int64_t i = 0; i < count; ++i) {
    const float value = static_cast<float>(1 + random() % 127) / 1024;
    values.push_back(random() % 4 == 0 ? -value : value);
  }
  return Floats(name, dtype, std::move(shape), values);
}

void Finish(const ModelFolder& folder, std::vector<HandMadeTensor> tensors, const Json& config) {
  for (HandMadeTensor& tensor : TinyLlamaRest()) tensors.push_back(std::move(tensor));
  folder.Config(config);
  folder.Text("tokenizer.json", R"({"a": "tokenizer"})");
  folder.Shard("model.safetensors", tensors);
}

// AWQ as AutoAWQ writes it; zero points of `least` and above.
void WriteAwq(const ModelFolder& folder, uint32_t least) {
  std::mt19937 random(7);
  std::vector<HandMadeTensor> tensors;
  const auto all = [](uint32_t) { return true; };
  const auto zeros = [least](uint32_t nibble) { return nibble >= least; };
  for (const std::string& name : TinyLlamaLinears()) {
    tensors.push_back(Integers<uint32_t>(name + ".qweight", DType::kI32, {128, 16},
                                         RandomWords(128 * 16, random, all)));
    tensors.push_back(Integers<uint32_t>(name + ".qzeros", DType::kI32, {4, 16},
                                         RandomWords(4 * 16, random, zeros)));
    tensors.push_back(Scales(name + ".scales", DType::kF16, {4, 128}, random));
  }
  tensors.push_back(Same("model.layers.0.self_attn.q_proj.bias", DType::kF16, {128}, 0.5F));
  Json config = TinyLlamaConfig();
  config["attention_bias"] = true;
  config["quantization_config"] = {{"quant_method", "awq"},
                                   {"bits", 4},
                                   {"group_size", 32},
                                   {"zero_point", true},
                                   {"version", "gemm"}};
  Finish(folder, std::move(tensors), config);
}

// Packed weights of compressed-tensors, symmetric, with scales of `dtype`; rows of `words` words.
void WriteCompressed(const ModelFolder& folder, DType dtype, float scale, int bits = 4,
                     int64_t words = 16) {
  std::mt19937 random(8);
  std::vector<HandMadeTensor> tensors;
  const auto all = [](uint32_t) { return true; };
  for (const std::string& name : TinyLlamaLinears()) {
    tensors.push_back(
        Integers<uint32_t>(name + ".weight_packed", DType::kI32, {128, words},
                           RandomWords(static_cast<size_t>(128 * words), random, all)));
    tensors.push_back(Same(name + ".weight_scale", dtype, {128, 4}, scale));
    tensors.push_back(Integers<int64_t>(name + ".weight_shape", DType::kI64, {2}, {128, 128}));
  }
  Json config = TinyLlamaConfig();
  config["quantization_config"] = {{"quant_method", "compressed-tensors"},
                                   {"format", "pack-quantized"},
                                   {"ignore", {"lm_head"}},
                                   {"config_groups",
                                    {{"group_0",
                                      {{"targets", {"Linear"}},
                                       {"weights",
                                        {{"num_bits", bits},
                                         {"symmetric", true},
                                         {"strategy", "group"},
                                         {"group_size", 32}}}}}}}};
  Finish(folder, std::move(tensors), config);
}

std::map<std::string, std::string> TensorBytes(const std::string& path) {
  const auto checkpoint = OpenCheckpoint(path);
  EXPECT_TRUE(checkpoint.ok()) << checkpoint.status();
  std::map<std::string, std::string> all;
  if (!checkpoint.ok()) return all;
  for (const TensorInfo* info : checkpoint->Tensors()) {
    const Tensor tensor = *checkpoint->Read(info->name);
    all[info->name] = std::string(NameOf(info->dtype)) +
                      std::string(reinterpret_cast<const char*>(tensor.bytes.data()),
                                  static_cast<size_t>(tensor.bytes.size()));
  }
  return all;
}

// Every weight of every linear, as a loader computes it.
std::map<std::string, std::vector<float>> Weights(const std::string& path) {
  std::map<std::string, std::vector<float>> all;
  Findings findings;
  const auto source = ReadModelSource(**OpenModelFolder(path), &findings);
  EXPECT_TRUE(source.ok()) << source.status();
  if (!source.ok()) return all;
  const StoredLinears stored(source->modules, source->config);
  for (const ResolvedLinear& resolved : stored.linears()) {
    if (!resolved.scheme.has_value()) continue;
    for (const StoredModule& module : source->modules) {
      if (module.name != resolved.linear->name) continue;
      const auto rows = ReadRows(source->folder, module, *resolved.linear);
      EXPECT_TRUE(rows.ok()) << rows.status();
      if (!rows.ok()) continue;
      std::vector<float>& values = all[module.name];
      values.resize(static_cast<size_t>(rows->rows * rows->columns));
      for (int64_t row = 0; row < rows->rows; ++row) {
        rows->Dequantize(row, values.data() + row * rows->columns);
      }
    }
  }
  return all;
}

class ConversionTest : public testing::Test {
 protected:
  std::string Path(const std::string& name) const { return out_.path() + "/" + name; }

  // Converts; the result has no problems.
  void Hop(const std::string& from, const std::string& format, const std::string& to) const {
    const auto report =
        Convert({.model_folder = from, .output_folder = Path(to), .format = format, .loader = ""});
    ASSERT_TRUE(report.ok()) << report.status();
    EXPECT_EQ(report->linears, 7);
    const auto inspection = Inspect(Path(to), {});
    ASSERT_TRUE(inspection.ok()) << inspection.status();
    for (const Finding& problem : inspection->findings.problems) {
      ADD_FAILURE() << to << ": " << problem.where << ": " << problem.text;
    }
  }
  absl::Status Refusal(const ModelFolder& folder, const std::string& format) const {
    return Convert({.model_folder = folder.path(),
                    .output_folder = Path("refused"),
                    .format = format,
                    .loader = ""})
        .status();
  }

  ModelFolder out_;
};

TEST_F(ConversionTest, AwqOverGptqAndCompressedTensorsBackIsTheSameBytes) {
  ModelFolder awq;
  WriteAwq(awq, /*least=*/1);
  Hop(awq.path(), "gptq", "gptq");
  Hop(Path("gptq"), "compressed-tensors", "packed");
  Hop(Path("packed"), "awq", "awq");
  EXPECT_EQ(TensorBytes(Path("awq")), TensorBytes(awq.path()));
  const auto weights = Weights(awq.path());
  ASSERT_EQ(weights.size(), 7U);
  for (const char* hop : {"gptq", "packed", "awq"}) EXPECT_EQ(Weights(Path(hop)), weights) << hop;
  EXPECT_EQ(*ReadFile(Path("packed") + "/tokenizer.json", 100), R"({"a": "tokenizer"})");
  EXPECT_TRUE(PathExists(Path("gptq") + "/quantize_config.json"));
  EXPECT_FALSE(PathExists(Path("awq") + "/quantize_config.json"));
}

TEST_F(ConversionTest, GroupsWhoseZeroPointGptqCannotStoreKeepTheirWeights) {
  ModelFolder awq;
  WriteAwq(awq, /*least=*/0);
  Hop(awq.path(), "gptq", "gptq");
  Hop(Path("gptq"), "awq", "awq");
  const auto weights = Weights(awq.path());
  EXPECT_EQ(Weights(Path("gptq")), weights);
  EXPECT_EQ(Weights(Path("awq")), weights);
  Hop(awq.path(), "compressed-tensors", "packed");
  Hop(Path("packed"), "awq", "straight");
  EXPECT_EQ(TensorBytes(Path("straight")), TensorBytes(awq.path()));
}

TEST_F(ConversionTest, ATiedHeadIsLeftOut) {
  ModelFolder awq;
  WriteAwq(awq, 1);
  std::vector<HandMadeTensor> tensors;
  Json config = *ParseJson(*ReadFile(awq.path() + "/config.json", 1 << 20), "config.json");
  config["tie_word_embeddings"] = true;
  awq.Config(config);
  const auto all = OpenCheckpoint(awq.path());
  ASSERT_TRUE(all.ok());
  for (const TensorInfo* info : all->Tensors()) {
    if (info->name == "lm_head.weight") continue;
    const Tensor tensor = *all->Read(info->name);
    tensors.push_back({*info, {tensor.bytes.data(), tensor.bytes.data() + tensor.bytes.size()}});
  }
  awq.Shard("model.safetensors", tensors);
  Hop(awq.path(), "compressed-tensors", "packed");
  config = *ParseJson(*ReadFile(Path("packed") + "/config.json", 1 << 20), "config.json");
  EXPECT_EQ(config["quantization_config"]["ignore"], Json({"lm_head"}));
}

TEST_F(ConversionTest, SymmetricCodesGoToGptqAndAwq) {
  ModelFolder packed;
  WriteCompressed(packed, DType::kBF16, 0.01171875F);  // 3 * 2^-8: exact in f16
  Hop(packed.path(), "gptq", "gptq");
  Hop(packed.path(), "awq", "awq");
  const auto weights = Weights(packed.path());
  ASSERT_EQ(weights.size(), 7U);
  EXPECT_EQ(Weights(Path("gptq")), weights);
  EXPECT_EQ(Weights(Path("awq")), weights);
}

TEST_F(ConversionTest, ThreeBitsGoToGptqAndBackToTheSameBytes) {
  ModelFolder packed;
  WriteCompressed(packed, DType::kF16, 0.01171875F, 3, 12);
  Hop(packed.path(), "gptq", "gptq");
  Hop(Path("gptq"), "compressed-tensors", "back");
  EXPECT_EQ(Weights(Path("gptq")), Weights(packed.path()));
  EXPECT_EQ(TensorBytes(Path("back")), TensorBytes(packed.path()));
}

// As compressed-tensors packed 3 bits before 0.18: ten to a word.
TEST_F(ConversionTest, WordsWithUnusedBitsAreRefused) {
  ModelFolder packed;
  WriteCompressed(packed, DType::kF16, 0.01171875F, 3, 13);
  const absl::Status status = Refusal(packed, "gptq");
  EXPECT_EQ(ReasonOf(status), Reason::kFormatCannotHold);
  EXPECT_THAT(std::string(status.message()), HasSubstr("3 bits in words with unused bits"));
}

TEST_F(ConversionTest, ScalesThatWouldBeRoundedAreRefused) {
  ModelFolder packed;
  WriteCompressed(packed, DType::kBF16, 1e-9F);  // below the least number of f16
  const absl::Status status = Refusal(packed, "gptq");
  EXPECT_EQ(ReasonOf(status), Reason::kFormatCannotHold);
  EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr("BF16"), HasSubstr("would round")));
  EXPECT_FALSE(PathExists(Path("refused")));
}

// desc_act: no other layout says where the inputs of a group lie.
TEST_F(ConversionTest, GroupsThatAreNotOfNeighboursStayInGptq) {
  std::vector<int32_t> index(128);
  for (size_t i = 0; i < index.size(); ++i) index[i] = static_cast<int32_t>(i % 4);
  std::vector<HandMadeTensor> tensors;
  for (const std::string& name : TinyLlamaLinears()) {
    tensors.push_back(Words(name + ".qweight", {16, 128}, 0x76543210));
    tensors.push_back(Words(name + ".qzeros", {4, 16}, 0x77777777));
    tensors.push_back(Same(name + ".scales", DType::kF16, {4, 128}, 0.5F));
    tensors.push_back(Integers<int32_t>(name + ".g_idx", DType::kI32, {128}, index));
  }
  Json config = TinyLlamaConfig();
  config["quantization_config"] = {
      {"quant_method", "gptq"}, {"bits", 4}, {"group_size", 32}, {"desc_act", true}, {"sym", true}};
  ModelFolder folder;
  Finish(folder, std::move(tensors), config);
  for (const std::string format : {"awq", "compressed-tensors"}) {
    const absl::Status status = Refusal(folder, format);
    EXPECT_EQ(ReasonOf(status), Reason::kFormatCannotHold);
    EXPECT_THAT(std::string(status.message()), HasSubstr("not neighbours (desc_act)"));
  }
  const auto kept = Convert({.model_folder = folder.path(),
                             .output_folder = Path("kept"),
                             .format = "gptq",
                             .loader = "transformers"});
  ASSERT_TRUE(kept.ok()) << kept.status();
  const auto inspected = Inspect(Path("kept"), {});
  ASSERT_TRUE(inspected.ok()) << inspected.status();
  EXPECT_TRUE(inspected->findings.problems.empty());
  EXPECT_EQ(inspected->config["desc_act"], true);
  const auto is_quantized = [](const InspectedModule& module) { return module.quantized; };
  const auto linear =
      std::find_if(inspected->modules.begin(), inspected->modules.end(), is_quantized);
  ASSERT_NE(linear, inspected->modules.end());
  EXPECT_EQ(linear->scheme, "int4 g32 sym, reordered");
  EXPECT_EQ(TensorBytes(Path("kept")), TensorBytes(folder.path()));
  const auto card = ReadFile(Path("kept") + "/README.md", 1 << 20);
  ASSERT_TRUE(card.ok()) << card.status();
  EXPECT_THAT(*card, AllOf(HasSubstr("from `"), HasSubstr("stored as `gptq`")));
}

TEST_F(ConversionTest, WhatCannotBeConvertedIsRefusedWithAReason) {
  ModelFolder awq;
  WriteAwq(awq, 1);
  EXPECT_EQ(ReasonOf(Refusal(awq, "hqq")), Reason::kInvalidField);
  const std::string dense = SourcePath("models/books-3m");
  EXPECT_EQ(ReasonOf(Convert({.model_folder = dense,
                              .output_folder = Path("refused"),
                              .format = "awq",
                              .loader = ""})
                         .status()),
            Reason::kFormatCannotHold);
  awq.Config(TinyLlamaConfig());  // says nothing of a quantization
  EXPECT_EQ(ReasonOf(Refusal(awq, "gptq")), Reason::kModelCorrupt);
  EXPECT_EQ(
      ReasonOf(
          Convert({.model_folder = dense, .output_folder = dense, .format = "awq", .loader = ""})
              .status()),
      Reason::kInvalidField);
}

}  // namespace
}  // namespace quantd
