// W8A8 end to end: on a model whose inputs have outliers, and with calibrated scales.
#include <string>

#include "engine/tensor/checkpoint.h"
#include "gtest/gtest.h"
#include "tests/engine/open_model.h"
#include "tests/engine/run/recipe_run.h"
#include "tests/shared_data.h"

namespace quantd {
namespace {

class Int8Test : public RecipeRunTest {};

double FigureOf(const LayerReport& layer, std::string_view name) {
  for (const auto& [figure, value] : layer.figures) {
    if (figure == name) return value;
  }
  return -1;
}

// llm-compressor's SmoothQuant and W8A8 leave .0009 on this model; without SmoothQuant .027 stay.
TEST_F(Int8Test, OutliersHurtAndSmoothQuantHeals) {
  QD_SHARED_DATA_OR_SKIP(data);
  const std::string model = data + "/models/books-3m-outliers";
  EXPECT_GT(Kl("default: {method: int8}", {.model = model}), 0.015);
  EXPECT_LT(Kl("default: {method: smoothquant}", {.model = model}), 0.0009);
  EXPECT_LT(Kl("default: {method: smoothquant, options: {smooth_all: false}}", {.model = model}),
            0.0009);
  EXPECT_LT(Kl("default: {method: smoothquant, options: {alpha_search: true}}", {.model = model}),
            0.0009);
}

TEST_F(Int8Test, WithoutOutliersSmoothQuantCostsNothing) {
  const double int8 = Kl("default: {method: int8}");
  EXPECT_LT(int8, 0.0009);
  EXPECT_LT(Kl("default: {method: smoothquant}"), 1.05 * int8);
}

// The histogram of what was folded is gathered through the fold: with that of the input as it was,
// scales would be far from the range of the folded input.
TEST_F(Int8Test, StaticObserversSeeTheFoldedInput) {
  const std::string scheme =
      "default: {method: smoothquant, activations: static, options: {observer: ";
  const auto by_range = Run(scheme + "minmax}}");
  ASSERT_TRUE(by_range.ok()) << by_range.status();
  for (const std::string propagate : {"original", "quantized"}) {
    const auto by_error = Run(scheme + "mse}}\npropagate: " + propagate);
    ASSERT_TRUE(by_error.ok()) << by_error.status();
    EXPECT_LT(by_error->evaluation->kl_mean, 0.01);
    ASSERT_EQ(by_error->layers.size(), by_range->layers.size());
    for (size_t i = 0; i < by_error->layers.size(); ++i) {
      const LayerReport& layer = by_error->layers[i];
      const double all = FigureOf(by_range->layers[i], "input_scale");
      const double chosen = FigureOf(layer, "input_scale");
      // Of the first blocks' inputs the range is the same; later it moves with `propagate`.
      EXPECT_LT(chosen, 1.1 * all) << layer.name;
      EXPECT_GT(chosen, 0.02 * all) << layer.name;
      EXPECT_GE(FigureOf(layer, "clipped_share"), 0) << layer.name;
      EXPECT_LT(FigureOf(layer, "clipped_share"), 0.01) << layer.name;
      EXPECT_EQ(FigureOf(layer, "alpha"), 0.8) << layer.name;
    }
  }
}

TEST_F(Int8Test, StaticScalesAreInTheArtifact) {
  const auto report =
      Run("default: {method: int8, activations: static, options: {activation_symmetric: false}}");
  ASSERT_TRUE(report.ok()) << report.status();
  const auto checkpoint = OpenCheckpoint(artifact());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  for (const LayerReport& layer : report->layers) {
    const auto scale = checkpoint->ReadF32(layer.name + ".input_scale");
    ASSERT_TRUE(scale.ok()) << scale.status();
    ASSERT_EQ(scale->size(), 1);
    EXPECT_EQ(static_cast<double>(scale->data()[0]), FigureOf(layer, "input_scale"));
    const TensorInfo* zero = checkpoint->Find(layer.name + ".input_zero_point");
    ASSERT_NE(zero, nullptr);
    EXPECT_EQ(zero->dtype, DType::kI8);
    int8_t value = 0;
    ASSERT_TRUE(
        checkpoint->ReadRows(zero->name, 0, 1, std::as_writable_bytes(std::span(&value, 1))).ok());
    EXPECT_EQ(value, FigureOf(layer, "input_zero"));
  }
}

TEST_F(Int8Test, SameBytesForAnyNumberOfThreads) {
  ExpectSameBytesForAnyNumberOfThreads(
      "default: {method: smoothquant, activations: static, options: {alpha_search: true}}");
}

}  // namespace
}  // namespace quantd
