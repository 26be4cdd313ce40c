// The bundled model as GGUF: its weights, its tokenizer, its warning, and what damaged files give.
#include <cmath>
#include <filesystem>
#include <random>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "engine/gguf/gguf_reader.h"
#include "engine/model/registry.h"
#include "engine/tensor/checkpoint.h"
#include "engine/text/tokenizer.h"
#include "engine/types/model_title.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/engine/gguf_source/gguf_round_trip.h"
#include "tests/engine/open_model.h"
#include "tests/fuzz/mutations.h"

namespace quantd {
namespace {

using ::testing::HasSubstr;

const std::string kModel = SourcePath("models/books-3m");

class GgufSourceTest : public GgufRoundTrip {
 protected:
  std::string Made(const std::string& type) const {
    const auto out =
        Quantized(kModel, "default: {method: gguf, options: {type: " + type + "}}", "gguf");
    EXPECT_TRUE(out.ok()) << out.status();
    return FileIn(*out);
  }
};

// What `dequantized` writes of the same codes is what the file is read as, bit by bit.
TEST_F(GgufSourceTest, WeightsAreWhatTheirBlocksStandFor) {
  for (const std::string type :
       {"Q8_0", "Q5_1", "Q5_0", "Q4_1", "Q4_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q3_K_M", "Q2_K"}) {
    const std::string file = Made(type);
    const auto files = OpenModel(file);
    ASSERT_TRUE(files.ok()) << files.status();
    const auto seen = Checkpoint::Open(*files);
    ASSERT_TRUE(seen.ok()) << seen.status();
    EXPECT_THAT(seen->stored_as(), HasSubstr("GGUF, "));
    EXPECT_LT(seen->total_bytes(), 4 << 20);
    const Checkpoint original = *OpenCheckpoint(kModel);
    double worst = 0;
    for (const TensorInfo* info : original.Tensors()) {
      const auto was = original.ReadF32(info->name), is = seen->ReadF32(info->name);
      ASSERT_TRUE(was.ok() && is.ok()) << is.status();
      double apart = 0, energy = 0;
      for (int64_t i = 0; i < was->size(); ++i) {
        const double a = was->data()[i], b = is->data()[i];
        apart += (a - b) * (a - b);
        energy += a * a;
      }
      worst = std::max(worst, std::sqrt(apart / energy));
    }
    // Rows out of order would be off by the whole of them.
    EXPECT_LT(worst, type == "Q2_K" ? 0.35 : 0.2) << type;
    EXPECT_GT(worst, 0) << type;
  }
}

TEST_F(GgufSourceTest, EveryFormatIsMadeOfIt) {
  const std::string file = Made("Q4_K_M");
  std::filesystem::rename(file, path("model.gguf"));
  for (const auto& [recipe, format] : std::vector<std::pair<std::string, std::string>>{
           {"default: {method: rtn, bits: 4, group_size: 64}", "compressed-tensors"},
           {"default: {method: rtn, bits: 4, group_size: 64}", "gptq"},
           {"default: {method: rtn, bits: 4, group_size: 64}", "awq"},
           {"default: {method: hqq, bits: 4, group_size: 64}", "hqq"},
           {"default: {method: gguf, options: {type: Q4_0}}", "gguf"},
           {"default: {method: rtn, bits: 4, group_size: 64}", "dequantized"}}) {
    const auto out = Quantized(path("model.gguf"), recipe, format);
    ASSERT_TRUE(out.ok()) << format << ": " << out.status();
    if (format == "gguf") continue;
    for (const std::string name : {"config.json", "tokenizer.json", "tokenizer_config.json"}) {
      EXPECT_TRUE(PathExists(*out + "/" + name)) << format << ": " << name;
    }
    EXPECT_TRUE(OpenCheckpoint(*out).ok()) << format;
  }
}

TEST_F(GgufSourceTest, ThePlanWarnsOfABlockSource) {
  QuantizeRequest request;
  request.model_folder = Made("Q4_0");
  request.output_folder = path("out");
  request.recipe = *ParseRecipe("default: {method: rtn, bits: 4}");
  const auto planned = MakePlan(request);
  ASSERT_TRUE(planned.ok()) << planned.status();
  EXPECT_THAT((*planned)->plan.warnings,
              ::testing::Contains(HasSubstr("quantized before (GGUF, Q4_0")));
  request.model_folder = Made("BF16");
  EXPECT_THAT((*MakePlan(request))->plan.warnings,
              ::testing::Not(::testing::Contains(HasSubstr("quantized before"))));
}

TEST_F(GgufSourceTest, TheTokenizerCutsAsItDid) {
  const auto files = OpenModel(Made("Q8_0"));
  ASSERT_TRUE(files.ok()) << files.status();
  const auto was = Tokenizer::Open(**OpenModelFolder(kModel)), is = Tokenizer::Open(**files);
  ASSERT_TRUE(was.ok() && is.ok()) << is.status();
  for (const std::string text :
       {"It was the best of times, it was the worst of times.", "  two  spaces\n\nand lines\t.",
        "1234 + 56 = 1290; don't, I'll; na\u00efve caf\u00e9 \u4f60\u597d \U0001F600"}) {
    EXPECT_EQ(*(*is)->Encode(text, true), *(*was)->Encode(text, true)) << text;
  }
}

// A tokenizer beside the only GGUF file is the model's own.
TEST_F(GgufSourceTest, ATokenizerBesideTheFileIsTaken) {
  const std::string folder = std::filesystem::path(Made("Q8_0")).parent_path().string();
  const std::string own = *ReadFile(kModel + "/tokenizer.json", 1 << 24);
  ASSERT_TRUE(WriteFileAtomic(folder + "/tokenizer.json", own).ok());
  const auto files = OpenModel(folder);
  ASSERT_TRUE(files.ok()) << files.status();
  EXPECT_EQ(*(*files)->ReadText("tokenizer.json", 1 << 24), own);
}

TEST_F(GgufSourceTest, OneOfSeveralIsNamedByItsPath) {
  const std::string file = Made("Q8_0");
  const std::string folder = std::filesystem::path(file).parent_path().string();
  std::filesystem::copy(file, folder + "/another.gguf");
  EXPECT_EQ(ReasonOf(OpenModel(folder).status()), Reason::kModelNotFound);
  EXPECT_THAT(OpenModel(folder).status().message(), HasSubstr("several GGUF models"));
  const auto files = OpenModel(folder + "/another.gguf");
  ASSERT_TRUE(files.ok()) << files.status();
  EXPECT_EQ(ModelTitle((*files)->location()), "another");
}

TEST_F(GgufSourceTest, SplitModelsAreOne) {
  QuantizeRequest request;
  request.model_folder = kModel;
  request.output_folder = path("split");
  request.recipe = *ParseRecipe("default: {method: gguf, options: {type: Q4_K_M}}");
  request.output.format = "gguf";
  request.output.shard_bytes = 1 << 20;
  request.evaluation.enabled = false;
  request.calibration.samples = 2;
  request.calibration.tokens_per_sample = 64;
  SilentSink sink;
  ASSERT_TRUE(Quantize(**MakePlan(request), sink).ok());
  std::filesystem::remove(path("split") + "/README.md");
  const auto files = OpenModel(path("split"));
  ASSERT_TRUE(files.ok()) << files.status();
  const auto whole = OpenModel(Made("Q4_K_M"));
  ASSERT_TRUE(whole.ok()) << whole.status();
  EXPECT_EQ(*(*files)->Digest("model.safetensors"), *(*whole)->Digest("model.safetensors"));
}

TEST_F(GgufSourceTest, DamagedFilesAreRefused) {
  const std::string bytes = *ReadFile(Made("Q4_0"), 1 << 24);
  const std::string file = path("damaged.gguf");
  const auto open = [&](const std::string& contents) {
    EXPECT_TRUE(WriteFileAtomic(file, contents).ok());
    return OpenModel(file);
  };
  for (size_t size = 0; size < bytes.size(); size += 1 + size / 3) {
    EXPECT_FALSE(open(bytes.substr(0, size)).ok()) << size;
  }
}

// Damage of every kind to the header of a small file: an error, or a model that can be read to its
// end.
TEST_F(GgufSourceTest, DamagedHeadersCrashNothing) {
  const auto out =
      Quantized(Original("qwen3"), "default: {method: gguf, options: {type: Q8_0}}", "gguf");
  ASSERT_TRUE(out.ok()) << out.status();
  const std::string bytes = *ReadFile(FileIn(*out), 1 << 24);
  const auto header = ParseGguf(std::as_bytes(std::span(bytes)), "whole");
  ASSERT_TRUE(header.ok()) << header.status();
  const auto data = static_cast<size_t>(header->data_begin);
  const std::string file = path("damaged.gguf");
  std::mt19937 random(7);
  int opened = 0;
  for (int round = 0; round < 1000; ++round) {
    const std::string changed = Damaged(bytes.substr(0, data), random) + bytes.substr(data);
    ASSERT_TRUE(WriteFileAtomic(file, changed).ok());
    const auto files = OpenModel(file);
    if (!files.ok()) {
      EXPECT_FALSE(ViolationsOf(files.status()).empty()) << files.status();
      continue;
    }
    const auto seen = Checkpoint::Open(*files);
    if (!seen.ok()) continue;
    ++opened;
    for (const TensorInfo* info : seen->Tensors()) EXPECT_TRUE(seen->Read(info->name).ok());
    (void)ReadModelSpec(**files, *seen);
    (void)Tokenizer::Open(**files);
  }
  EXPECT_GT(opened, 0);
}

TEST_F(GgufSourceTest, WhatIsMissingIsNamed) {
  std::string bytes = *ReadFile(Made("Q4_0"), 1 << 24);
  const auto without = [&](const std::string& key) {
    std::string changed = bytes;
    const size_t at = changed.find(key);
    EXPECT_NE(at, std::string::npos) << key;
    changed[at + key.size() - 1] = '_';
    EXPECT_TRUE(WriteFileAtomic(path("other.gguf"), changed).ok());
    return OpenModel(path("other.gguf")).status();
  };
  for (const std::string key : {"llama.block_count", "llama.embedding_length",
                                "llama.attention.head_count", "general.architecture"}) {
    const absl::Status status = without(key);
    EXPECT_EQ(ReasonOf(status), Reason::kModelCorrupt) << status;
    EXPECT_THAT(status.message(), HasSubstr(key)) << status;
  }
  EXPECT_THAT(without("blk.2.ffn_up.weight").message(), HasSubstr("blk.2.ffn_up.weight"));
  // A name that is not known, of a key and of a tensor.
  EXPECT_EQ(ReasonOf(without("llama.rope.freq_base")), Reason::kModelUnsupported);
}

}  // namespace
}  // namespace quantd
