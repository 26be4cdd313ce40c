// Format and method gguf, end to end on the bundled model: the file is read back by the reader of
// headers, its blocks by their decoders. `./dev interop` has the gguf package and llama.cpp read
// it.

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "base/digest.h"
#include "base/error.h"
#include "base/files.h"
#include "engine/gguf/block_types.h"
#include "engine/gguf/gguf_reader.h"
#include "engine/plan/plan.h"
#include "engine/run/quantize.h"
#include "engine/tensor/checkpoint.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/engine/open_model.h"
#include "tests/engine/silent_sink.h"
#include "tests/paths.h"

namespace quantd {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

const std::string kModel = SourcePath("models/books-3m");

class GgufTest : public ::testing::Test {
 protected:
  QuantizeRequest Request(const std::string& options, const std::string& out) const {
    QuantizeRequest request;
    request.model_folder = kModel;
    request.output_folder = folder_.path() + "/" + out;
    request.recipe = *ParseRecipe("default: {method: gguf, options: {" + options + "}}");
    request.output.format = "gguf";
    request.evaluation.windows = 2;
    request.evaluation.tokens_per_window = 64;
    request.calibration.samples = 2;
    request.calibration.tokens_per_sample = 64;
    return request;
  }
  absl::StatusOr<Report> Run(const QuantizeRequest& request) {
    QD_ASSIGN_OR_RETURN(const auto planned, MakePlan(request));
    SilentSink sink;
    return Quantize(*planned, sink);
  }
  // The one GGUF file of an artifact, whole.
  static std::string Bytes(const QuantizeRequest& request, const std::string& type) {
    return *ReadFile(request.output_folder + "/books-3m-" + type + ".gguf", 1 << 30);
  }
  static GgufHeader Header(const std::string& bytes) {
    return *ParseGguf(std::as_bytes(std::span(bytes)), "test.gguf");
  }
  static std::map<std::string, std::string> Types(const GgufHeader& header) {
    std::map<std::string, std::string> types;
    for (const GgufTensor& tensor : header.tensors) {
      types[tensor.name] = std::string(FindBlockType(tensor.type)->name);
    }
    return types;
  }

  TemporaryFolder folder_ = *TemporaryFolder::Create("gguf");
};

TEST_F(GgufTest, AMixtureIsWhatLlamaQuantizeMakes) {
  const QuantizeRequest request = Request("type: Q4_K_M", "mixture");
  const auto report = Run(request);
  ASSERT_TRUE(report.ok()) << report.status();
  const std::string bytes = Bytes(request, "Q4_K_M");
  const GgufHeader header = Header(bytes);
  auto types = Types(header);
  EXPECT_EQ(header.tensors.size(), 2 + 4 * 9);
  EXPECT_EQ(types["token_embd.weight"], "Q6_K");  // tied: the output projection too
  EXPECT_EQ(types["output_norm.weight"], "F32");
  EXPECT_EQ(types["blk.0.attn_q.weight"], "Q4_K");
  // Of four blocks the third (every third) and the fourth (the last eighth) get more.
  EXPECT_EQ(types["blk.1.attn_v.weight"], "Q4_K");
  EXPECT_EQ(types["blk.2.attn_v.weight"], "Q6_K");
  EXPECT_EQ(types["blk.3.attn_v.weight"], "Q6_K");
  // 640 inputs are no multiple of 256.
  EXPECT_EQ(types["blk.0.ffn_down.weight"], "Q5_0");
  EXPECT_EQ(types["blk.3.ffn_down.weight"], "Q8_0");
  EXPECT_EQ(header.String("general.architecture"), "llama");
  EXPECT_EQ(header.Integer("general.file_type"), 15);
  EXPECT_EQ(header.Integer("llama.block_count"), 4);
  EXPECT_EQ(header.Length("tokenizer.ggml.tokens"), 2048);
  EXPECT_EQ(header.Integer("quantize.imatrix.entries_count"), 28);
  EXPECT_LT(report->evaluation->kl_mean, 0.02);
  // Nothing but the file, the report and its card.
  std::vector<std::string> names = *ListFolder(request.output_folder);
  std::erase(names, "quantd");
  EXPECT_THAT(names, ::testing::UnorderedElementsAre("README.md", "books-3m-Q4_K_M.gguf"));
}

TEST_F(GgufTest, TypesThatDoNotFitAreWarnedOf) {
  const auto planned = MakePlan(Request("type: Q4_K_M", "warned"));
  ASSERT_TRUE(planned.ok()) << planned.status();
  EXPECT_EQ((*planned)->plan.warnings.size(), 4);
  EXPECT_THAT((*planned)->plan.warnings[0], HasSubstr("Q5_0 takes the place of Q4_K"));
}

// BF16 keeps every value, so the order of rows can be seen: halves of each head alternate in q and
// k, and nothing else moves.
TEST_F(GgufTest, RowsOfQAndKArePaired) {
  const QuantizeRequest request = Request("type: BF16", "plain");
  ASSERT_TRUE(Run(request).ok());
  const std::string bytes = Bytes(request, "BF16");
  const GgufHeader header = Header(bytes);
  const Checkpoint checkpoint = *OpenCheckpoint(kModel);
  const auto rows_of = [&](const std::string& name) {
    for (const GgufTensor& tensor : header.tensors) {
      if (tensor.name != name) continue;
      return std::string_view(bytes).substr(static_cast<size_t>(tensor.offset),
                                            static_cast<size_t>(tensor.bytes));
    }
    return std::string_view();
  };
  const auto original = [&](const std::string& name) {
    const Tensor tensor = *checkpoint.Read("model.layers.1.self_attn." + name + "_proj.weight");
    return std::string(reinterpret_cast<const char*>(tensor.bytes.data()),
                       static_cast<size_t>(tensor.bytes.size()));
  };
  constexpr size_t kRow = 256 * 2, kHead = 64;
  for (const std::string name : {"q", "k"}) {
    const std::string from = original(name);
    const std::string_view to = rows_of("blk.1.attn_" + name + ".weight");
    ASSERT_EQ(to.size(), from.size());
    for (size_t row = 0; row < from.size() / kRow; ++row) {
      const size_t head = row / kHead, at = row % kHead;
      const size_t place = head * kHead + 2 * (at % (kHead / 2)) + at / (kHead / 2);
      EXPECT_EQ(to.substr(place * kRow, kRow), std::string_view(from).substr(row * kRow, kRow));
    }
  }
  EXPECT_EQ(rows_of("blk.1.attn_v.weight"), original("v"));
}

TEST_F(GgufTest, IsTheSameFileForAnyNumberOfThreads) {
  std::vector<std::string> digests;
  for (const int threads : {1, 3}) {
    QuantizeRequest request = Request("type: Q3_K_M", "threads" + std::to_string(threads));
    request.resources.threads = threads;
    ASSERT_TRUE(Run(request).ok());
    digests.push_back(Sha256Hex(Bytes(request, "Q3_K_M")));
  }
  EXPECT_EQ(digests[0], digests[1]);
}

// Any method that takes the number format fills the same file.
TEST_F(GgufTest, OtherMethodsFillTheSameTypes) {
  const QuantizeRequest plain = Request("type: Q4_K_M", "plain-types");
  ASSERT_TRUE(Run(plain).ok());
  const auto wanted = Types(Header(Bytes(plain, "Q4_K_M")));
  for (const std::string method : {"gptq", "awq+gptq"}) {
    std::vector<std::string> digests;
    for (const int threads : {1, 2}) {
      QuantizeRequest request = Request("type: Q4_K_M", method + std::to_string(threads));
      request.recipe = *ParseRecipe("default: {method: " + method + ", number_format: Q4_K_M}");
      request.resources.threads = threads;
      const auto report = Run(request);
      ASSERT_TRUE(report.ok()) << report.status();
      EXPECT_LT(report->evaluation->kl_mean, 0.02) << method;
      const std::string bytes = Bytes(request, "Q4_K_M");
      EXPECT_EQ(Types(Header(bytes)), wanted) << method;
      EXPECT_EQ(Header(bytes).Integer("general.file_type"), 15);
      digests.push_back(Sha256Hex(bytes));
    }
    EXPECT_EQ(digests[0], digests[1]) << method;
  }
}

TEST_F(GgufTest, EmbeddingAndOutputCanBeNamed) {
  const QuantizeRequest request = Request("type: Q4_0, output: Q8_0", "named");
  ASSERT_TRUE(Run(request).ok());
  EXPECT_EQ(Types(Header(Bytes(request, "Q4_0")))["token_embd.weight"], "Q8_0");
}

TEST_F(GgufTest, SplitsWhereSmallerFilesAreAskedFor) {
  QuantizeRequest request = Request("type: Q4_K_M", "split");
  request.output.shard_bytes = 1 << 20;
  const auto report = Run(request);
  ASSERT_TRUE(report.ok()) << report.status();
  size_t tensors = 0;
  for (const std::string part : {"1", "2", "3"}) {
    tensors += Header(Bytes(request, "Q4_K_M-0000" + part + "-of-00003")).tensors.size();
  }
  EXPECT_EQ(tensors, 2 + 4 * 9);
  const std::string card = *ReadFile(request.output_folder + "/README.md", 1 << 20);
  EXPECT_THAT(card, HasSubstr("llama-cli -m books-3m-Q4_K_M-00001-of-00003.gguf"));
}

TEST_F(GgufTest, RefusesWhatTheFileCannotHold) {
  QuantizeRequest request = Request("type: Q4_0", "refused");
  request.recipe = *ParseRecipe("default: {method: rtn}");
  EXPECT_EQ(ReasonOf(MakePlan(request).status()), Reason::kFormatCannotHold);
  request = Request("type: Q4_0", "refused");
  request.output.format = "compressed-tensors";
  EXPECT_EQ(ReasonOf(MakePlan(request).status()), Reason::kFormatCannotHold);
  request = Request("type: Q4_0", "refused");
  request.output.loader = "vllm";
  EXPECT_EQ(ReasonOf(MakePlan(request).status()), Reason::kLoaderRefuses);
  request = Request("type: Q9_0", "refused");
  EXPECT_EQ(ReasonOf(MakePlan(request).status()), Reason::kRecipeInvalid);
  request = Request("type: Q4_0", "refused");
  request.recipe.default_scheme.bits = 4;
  EXPECT_EQ(ReasonOf(MakePlan(request).status()), Reason::kRecipeInvalid);
}

}  // namespace
}  // namespace quantd
