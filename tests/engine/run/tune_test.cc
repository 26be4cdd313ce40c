// Whole runs with a method that tunes the quantized block.
#include <string>

#include "base/error.h"
#include "gtest/gtest.h"
#include "tests/engine/run/recipe_run.h"

namespace quantd {
namespace {

class TuneTest : public RecipeRunTest {
 protected:
  static std::string Recipe(const std::string& tune) {
    return "default: {method: gptq, bits: 2, group_size: 64, symmetric: false, options: {tune: " +
           tune + "}}";
  }
};

TEST_F(TuneTest, OutputScalesBringTheBlockNearerToTheOriginal) {
  EXPECT_LT(Kl(Recipe("output-scales")), 0.98 * Kl(Recipe("none")));
}

TEST_F(TuneTest, SameBytesForAnyNumberOfThreads) {
  ExpectSameBytesForAnyNumberOfThreads(Recipe("output-scales"));
}

TEST_F(TuneTest, NoneIsTheDefault) {
  ASSERT_TRUE(Run(Recipe("none")).ok());
  const std::string named = Digest();
  ASSERT_TRUE(Run("default: {method: gptq, bits: 2, group_size: 64, symmetric: false}").ok());
  EXPECT_EQ(Digest(), named);
}

TEST_F(TuneTest, ScalesOfATypeOfTheirOwnAreRefused) {
  for (const std::string number : {"nvfp4", "mxfp4"}) {
    const auto report = Run(
        "default: {method: gptq, options: {tune: output-scales}, number_format: " + number + "}");
    EXPECT_EQ(ReasonOf(report.status()), Reason::kRecipeInvalid) << report.status();
  }
  const auto blocks =
      Run("default: {method: gptq, options: {tune: output-scales}, number_format: Q4_K}",
          {.format = "gguf"});
  EXPECT_EQ(ReasonOf(blocks.status()), Reason::kRecipeInvalid) << blocks.status();
}

}  // namespace
}  // namespace quantd
