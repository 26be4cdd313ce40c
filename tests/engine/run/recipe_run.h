// A recipe run end to end with few windows, and what the artifact is like.
#pragma once

#include <filesystem>
#include <string>

#include "base/digest.h"
#include "base/files.h"
#include "engine/run/quantize.h"
#include "gtest/gtest.h"
#include "tests/engine/silent_sink.h"
#include "tests/paths.h"

namespace quantd {

struct RecipeRunOptions {
  std::string model = SourcePath("models/books-3m");
  int threads = 0;
  std::string format = "compressed-tensors";
  int64_t windows = 6;  // of the evaluation
};

class RecipeRunTest : public ::testing::Test {
 protected:
  // Replaces the artifact of the run before.
  absl::StatusOr<Report> Run(const std::string& recipe, const RecipeRunOptions& options = {}) {
    QuantizeRequest request;
    request.model_folder = options.model;
    request.output_folder = artifact();
    request.output.format = options.format;
    std::filesystem::remove_all(artifact());
    request.recipe = *ParseRecipe(recipe);
    request.evaluation.windows = options.windows;
    request.evaluation.tokens_per_window = 256;
    request.calibration.samples = 8;
    request.calibration.tokens_per_sample = 256;
    request.resources.threads = options.threads;
    auto planned = MakePlan(request);
    if (!planned.ok()) return planned.status();
    SilentSink nobody;
    return Quantize(**planned, nobody);
  }
  double Kl(const std::string& recipe, const RecipeRunOptions& options = {}) {
    const absl::StatusOr<Report> report = Run(recipe, options);
    EXPECT_TRUE(report.ok()) << report.status();
    return report.ok() ? report->evaluation->kl_mean : 1e9;
  }
  std::string artifact() const { return folder_.path() + "/out"; }
  std::string Digest() const {
    return Sha256Hex(*ReadFile(artifact() + "/model.safetensors", int64_t{1} << 30));
  }
  void ExpectSameBytesForAnyNumberOfThreads(const std::string& recipe) {
    ASSERT_TRUE(Run(recipe, {.threads = 1}).ok()) << recipe;
    const std::string one = Digest();
    ASSERT_TRUE(Run(recipe, {.threads = 3}).ok()) << recipe;
    EXPECT_EQ(Digest(), one) << recipe;
  }

 private:
  TemporaryFolder folder_ = *TemporaryFolder::Create("recipe-run");
};

}  // namespace quantd
