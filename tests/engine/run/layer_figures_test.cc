// What a run tells of each linear beside its bytes: figures of the method, the analysis.
#include <algorithm>

#include "base/digest.h"
#include "base/error.h"
#include "engine/run/quantize.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/engine/silent_sink.h"
#include "tests/paths.h"

namespace quantd {
namespace {

using ::testing::HasSubstr;
using ::testing::SizeIs;

class LayerFiguresTest : public ::testing::Test {
 protected:
  QuantizeRequest Request(const std::string& recipe) const {
    QuantizeRequest request;
    request.model_folder = SourcePath("models/books-3m");
    request.output_folder = folder_.path() + "/out";
    request.recipe = *ParseRecipe(recipe);
    request.evaluation.windows = 2;
    request.evaluation.tokens_per_window = 128;
    request.calibration.samples = 4;
    request.calibration.tokens_per_sample = 128;
    request.output.format = "dequantized";
    return request;
  }
  Report Run(const QuantizeRequest& request) {
    auto planned = MakePlan(request);
    EXPECT_TRUE(planned.ok()) << planned.status();
    SilentSink sink;
    auto report = Quantize(**planned, sink);
    EXPECT_TRUE(report.ok()) << report.status();
    weights_ = Sha256Hex(*ReadFile(request.output_folder + "/model.safetensors", 1 << 30));
    return *std::move(report);
  }
  static std::optional<double> FigureOf(const LayerReport& layer, std::string_view name) {
    for (const auto& [known, value] : layer.figures) {
      if (known == name) return value;
    }
    return std::nullopt;
  }

  TemporaryFolder folder_ = *TemporaryFolder::Create("layer-figures-test");
  std::string weights_;
};

TEST_F(LayerFiguresTest, AnalysisSaysWhatProtectionAndOtherLevelsGainAndChangesNothing) {
  for (const std::string recipe :
       {"default: {method: awq, bits: 4}", "default: {method: rtn, bits: 3, group_size: 64}"}) {
    QuantizeRequest request = Request(recipe);
    Run(request);
    const std::string plain = weights_;
    request.evaluation.analyze = true;
    const Report report = Run(request);
    EXPECT_EQ(weights_, plain) << recipe;
    ASSERT_THAT(report.layers, SizeIs(28));
    for (const LayerReport& layer : report.layers) {
      ASSERT_TRUE(layer.analysis.has_value()) << layer.name;
      const LayerAnalysis& analysis = *layer.analysis;
      // The evaluation multiplies in the backend's precision, and by the weights as they are.
      EXPECT_NEAR(analysis.output_error, *layer.relative_output_error, 2e-3) << layer.name;
      ASSERT_THAT(analysis.salient, SizeIs(2));
      EXPECT_LT(analysis.salient[1].output_error, analysis.output_error) << layer.name;
      ASSERT_THAT(analysis.codebooks, SizeIs(layer.bits == 4 ? 3 : 2));
      EXPECT_EQ(analysis.codebooks.back().name, "k-means");
      EXPECT_LT(analysis.codebooks.back().output_error, analysis.output_error) << layer.name;
    }
  }
}

TEST_F(LayerFiguresTest, AnalysisNeedsSamplesAndWeightsAlone) {
  QuantizeRequest request = Request("default: {method: rtn}");
  request.evaluation.analyze = true;
  request.evaluation.enabled = false;
  EXPECT_THAT(std::string(MakePlan(request).status().message()), HasSubstr("evaluation.analyze"));
  request = Request("default: {method: int8}");
  request.output.format = "compressed-tensors";
  request.evaluation.analyze = true;
  for (const LayerReport& layer : Run(request).layers) EXPECT_FALSE(layer.analysis.has_value());
}

TEST_F(LayerFiguresTest, AwqReportsTheMeanClip) {
  const Report report = Run(Request("default: {method: awq, bits: 3, options: {clip: true}}"));
  for (const LayerReport& layer : report.layers) {
    EXPECT_TRUE(FigureOf(layer, "alpha").has_value()) << layer.name;
    const std::optional<double> clip = FigureOf(layer, "clip");
    const bool cut = !layer.name.ends_with("q_proj") && !layer.name.ends_with("k_proj");
    ASSERT_EQ(clip.has_value(), cut) << layer.name;
    if (!cut) continue;
    EXPECT_GT(*clip, 0.55) << layer.name;
    EXPECT_LT(*clip, 0.999) << layer.name;
  }
}

}  // namespace
}  // namespace quantd
