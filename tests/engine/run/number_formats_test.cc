// Floating number formats end to end.
#include <cmath>
#include <string>
#include <vector>

#include "base/error.h"
#include "engine/tensor/checkpoint.h"
#include "gtest/gtest.h"
#include "tests/engine/open_model.h"
#include "tests/engine/run/recipe_run.h"

namespace quantd {
namespace {

class NumberFormatsTest : public RecipeRunTest {
 protected:
  static std::string Default(const std::string& scheme) { return "default: {" + scheme + "}"; }
  absl::StatusOr<Report> Run(const std::string& scheme, RecipeRunOptions options = {}) {
    options.windows = 4;
    return RecipeRunTest::Run(Default(scheme), options);
  }
  double Kl(const std::string& scheme) {
    return RecipeRunTest::Kl(Default(scheme), {.windows = 4});
  }
};

TEST_F(NumberFormatsTest, MethodsErrLessThanPlainRounding) {
  for (const std::string format : {"nvfp4", "mxfp4"}) {
    const std::string number = ", number_format: " + format;
    const double plain = Kl("method: rtn, scale_rule: absmax" + number);
    EXPECT_GT(plain, 0.001) << format;
    EXPECT_LT(Kl("method: rtn, scale_rule: weighted-mse" + number), plain) << format;
    EXPECT_LT(Kl("method: awq" + number), 0.95 * plain) << format;
    EXPECT_LT(Kl("method: gptq" + number), 0.8 * plain) << format;
  }
}

TEST_F(NumberFormatsTest, MoreBitsAreNearer) {
  const double mxfp4 = Kl("method: rtn, number_format: mxfp4");
  const double nvfp4 = Kl("method: rtn, number_format: nvfp4");
  const double fp8 = Kl("method: rtn, number_format: fp8-e4m3");
  EXPECT_LT(nvfp4, mxfp4);
  EXPECT_LT(fp8, 0.1 * nvfp4);
  EXPECT_LT(Kl("method: rtn, number_format: mxfp8"), 0.2 * nvfp4);
}

// Evaluation rounds the inputs too.
TEST_F(NumberFormatsTest, RoundedInputsCostSomething) {
  const double alone = Kl("method: rtn, number_format: nvfp4");
  const double both = Kl("method: rtn, number_format: nvfp4, activations: static");
  EXPECT_GT(both, 1.1 * alone);
  EXPECT_LT(both, 10 * alone);
  EXPECT_GT(Kl("method: rtn, number_format: fp8-e4m3, activations: dynamic"),
            1.1 * Kl("method: rtn, number_format: fp8-e4m3"));
}

TEST_F(NumberFormatsTest, FusedLinearsShareTheirTensorScale) {
  const auto report = Run("method: rtn, number_format: nvfp4, activations: static");
  ASSERT_TRUE(report.ok()) << report.status();
  const auto checkpoint = OpenCheckpoint(artifact());
  const auto original = OpenCheckpoint(RecipeRunOptions().model);
  ASSERT_TRUE(checkpoint.ok() && original.ok());
  const auto value = [&](const std::string& name) {
    const auto values = checkpoint->ReadF32(name);
    EXPECT_TRUE(values.ok()) << values.status();
    return values->data()[0];
  };
  const std::string block = "model.layers.1.";
  for (const auto& parts :
       {std::vector<std::string>{"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"},
        std::vector<std::string>{"mlp.gate_proj", "mlp.up_proj"},
        std::vector<std::string>{"mlp.down_proj"}}) {
    float absmax = 0;
    for (const std::string& part : parts) {
      const auto weights = original->ReadF32(block + part + ".weight");
      ASSERT_TRUE(weights.ok());
      for (const float weight : weights->span()) absmax = std::max(absmax, std::fabs(weight));
    }
    for (const std::string& part : parts) {
      EXPECT_EQ(value(block + part + ".weight_global_scale"), 2688.0f / absmax) << part;
      EXPECT_GT(value(block + part + ".input_global_scale"), 0) << part;
    }
  }
}

// Read as a source of FP8 weights is read, by code that knows nothing of this writer: every weight
// is within half a step of E4M3, so each block has its own scale.
TEST_F(NumberFormatsTest, BlocksReadBackNextToTheirWeights) {
  for (const std::string activations : {"none", "dynamic"}) {
    const auto report =
        Run("method: rtn, number_format: fp8-block, activations: " + activations, {.threads = 2});
    ASSERT_TRUE(report.ok()) << report.status();
    EXPECT_LT(report->evaluation->kl_mean, 0.005);
    const auto checkpoint = OpenCheckpoint(artifact());
    const auto original = OpenCheckpoint(SourcePath("models/books-3m"));
    ASSERT_TRUE(checkpoint.ok() && original.ok());
    for (const std::string part : {"self_attn.k_proj", "mlp.gate_proj", "mlp.down_proj"}) {
      const std::string name = "model.layers.1." + part + ".weight";
      const auto wanted = original->ReadF32(name), got = checkpoint->ReadF32(name);
      ASSERT_TRUE(wanted.ok() && got.ok()) << wanted.status() << got.status();
      float most = 0;
      for (const float weight : wanted->span()) most = std::max(most, std::fabs(weight));
      for (int64_t i = 0; i < wanted->size(); ++i) {
        const float weight = wanted->data()[i];
        const float step = std::max(std::fabs(weight) / 16, most / 448 / 512);
        ASSERT_LE(std::fabs(got->data()[i] - weight), 1.1f * step) << name << " " << i;
      }
    }
  }
}

TEST_F(NumberFormatsTest, SameBytesForAnyNumberOfThreads) {
  for (const std::string scheme :
       {"method: gptq, number_format: nvfp4", "method: awq, number_format: mxfp4",
        "method: rtn, number_format: fp8-e4m3, granularity: tensor",
        "method: rtn, number_format: fp8-block, activations: dynamic",
        "method: gptq, number_format: fp8-block"}) {
    ExpectSameBytesForAnyNumberOfThreads(Default(scheme));
  }
}

TEST_F(NumberFormatsTest, FeedbackPaysOnBlocksOfRowsToo) {
  const double nearest = Kl("method: rtn, number_format: fp8-block");
  EXPECT_LT(Kl("method: gptq, number_format: fp8-block"), nearest);
  EXPECT_LT(Kl("method: awq+gptq, number_format: fp8-block"), nearest);
  EXPECT_LT(Kl("method: awq, number_format: fp8-block"), 1.05 * nearest);
}

// A block is stored with one scale: what is read back is near the weights only if all of its rows
// were rounded with that.
TEST_F(NumberFormatsTest, GptqRoundsTheRowsOfABlockWithItsScale) {
  ASSERT_TRUE(Run("method: gptq, number_format: fp8-block").ok());
  const auto checkpoint = OpenCheckpoint(artifact());
  const auto original = OpenCheckpoint(SourcePath("models/books-3m"));
  ASSERT_TRUE(checkpoint.ok() && original.ok());
  const std::string name = "model.layers.1.mlp.gate_proj.weight";
  const auto wanted = original->ReadF32(name), got = checkpoint->ReadF32(name);
  ASSERT_TRUE(wanted.ok() && got.ok()) << wanted.status() << got.status();
  double error = 0, energy = 0;
  for (int64_t i = 0; i < wanted->size(); ++i) {
    const double weight = static_cast<double>(wanted->data()[i]);
    error += std::pow(static_cast<double>(got->data()[i]) - weight, 2);
    energy += weight * weight;
  }
  EXPECT_LT(error, 0.003 * energy);
}

TEST_F(NumberFormatsTest, BlocksOfRowsRefuseWhatFitsTheScalesOfOne) {
  for (const std::string scheme :
       {"method: awq, scale_rule: hessian", "method: gptq, options: {refit: 1}",
        "method: gptq, options: {act_order: desc-act}",
        "method: gptq, options: {tune: output-scales}", "method: rtn, scale_rule: hessian",
        "method: rtn, activations: static", "method: rtn, group_size: 64"}) {
    const auto report = Run(scheme + ", number_format: fp8-block");
    EXPECT_EQ(ReasonOf(report.status()), Reason::kRecipeInvalid) << scheme;
  }
}

TEST_F(NumberFormatsTest, FormatsOfIntegersRefuse) {
  for (const std::string format : {"awq", "gptq", "gguf", "hqq"}) {
    const auto report = Run("method: rtn, number_format: nvfp4", {.format = format});
    ASSERT_FALSE(report.ok()) << format;
    EXPECT_EQ(ReasonOf(report.status()), Reason::kFormatCannotHold) << format;
  }
  EXPECT_TRUE(Run("method: rtn, number_format: nvfp4", {.format = "dequantized"}).ok());
}

}  // namespace
}  // namespace quantd
