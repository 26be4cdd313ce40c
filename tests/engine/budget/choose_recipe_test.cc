#include "engine/budget/choose_recipe.h"

#include <string>

#include "base/error.h"
#include "base/files.h"
#include "base/json.h"
#include "engine/budget/sensitivity.h"
#include "engine/plan/plan.h"
#include "engine/run/quantize.h"
#include "gtest/gtest.h"
#include "tests/engine/silent_sink.h"
#include "tests/paths.h"

namespace quantd {
namespace {

class ChooseRecipeTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto folder = TemporaryFolder::Create("choose_recipe_test");
    ASSERT_TRUE(folder.ok()) << folder.status();
    folder_.emplace(*std::move(folder));
    request_.model_folder = SourcePath("models/books-3m");
    request_.output_folder = folder_->path() + "/out";
    request_.output.format = "dequantized";
    request_.calibration.samples = 4;
    request_.calibration.tokens_per_sample = 64;
    request_.evaluation.windows = 4;
    request_.evaluation.tokens_per_window = 64;
    request_.resources.threads = 2;
    request_.recipe.default_scheme.method = "auto";
    request_.recipe.default_scheme.options.Set("base", std::string("rtn"));
  }

  absl::StatusOr<Recipe> Choose() {
    SilentSink quiet;
    return ChooseRecipe(request_, quiet);
  }
  Plan PlanOf(const Recipe& recipe) {
    QuantizeRequest request = request_;
    request.recipe = recipe;
    auto planned = MakePlan(request);
    EXPECT_TRUE(planned.ok()) << planned.status();
    plans_.push_back(*std::move(planned));
    return plans_.back()->plan;
  }
  double KlOf(const Recipe& recipe) {
    QuantizeRequest request = request_;
    request.recipe = recipe;
    SilentSink quiet;
    const auto planned = MakePlan(request);
    const auto report = Quantize(**planned, quiet);
    EXPECT_TRUE(report.ok()) << report.status();
    EXPECT_TRUE(RemoveTree(request.output_folder).ok());
    return report->evaluation->kl_mean;
  }

  std::optional<TemporaryFolder> folder_;
  QuantizeRequest request_;
  std::vector<std::unique_ptr<PlannedQuantization>> plans_;
};

TEST_F(ChooseRecipeTest, FillsTheBudgetWithLinearsThatShareAnInputAlike) {
  for (const double budget : {2.7, 3.5, 5.0}) {
    request_.recipe.default_scheme.options.Set("bits_per_weight", budget);
    const auto recipe = Choose();
    ASSERT_TRUE(recipe.ok()) << recipe.status();
    EXPECT_FALSE(AsksForAuto(*recipe));
    const Plan plan = PlanOf(*recipe);
    EXPECT_LE(plan.bits_per_weight, budget);
    EXPECT_GT(plan.bits_per_weight, budget - 0.3);
    for (const ResolvedLinear& a : plan.linears) {
      for (const ResolvedLinear& b : plan.linears) {
        const bool together = a.linear->block == b.linear->block && a.linear->block >= 0 &&
                              a.linear->input == b.linear->input;
        EXPECT_TRUE(!together || a.scheme->bits == b.scheme->bits) << a.linear->name;
      }
    }
  }
}

TEST_F(ChooseRecipeTest, BeatsTheInterpolationOfUniformWidths) {
  request_.recipe.default_scheme.options.Set("bits_per_weight", 3.625);
  const auto recipe = Choose();
  ASSERT_TRUE(recipe.ok()) << recipe.status();
  const double bits = PlanOf(*recipe).bits_per_weight;
  Recipe three, four;
  three.default_scheme.method = four.default_scheme.method = "rtn";
  three.default_scheme.bits = 3;
  four.default_scheme.bits = 4;
  const double share = bits - 3.125;  // groups of 128 with scales of 16 bits
  const double between = (1 - share) * KlOf(three) + share * KlOf(four);
  EXPECT_LT(KlOf(*recipe), 0.95 * between);
}

// A mixture of experts that reads letters.
void WriteMixture(const std::string& folder) {
  const std::string model = SourcePath("tests/golden/models/mixtral/");
  for (const char* name : {"config.json", "model.safetensors"}) {
    ASSERT_TRUE(CopyFileAtomic(model + name, folder + "/" + name).ok());
  }
  Json vocabulary = Json::object();
  const std::string letters = " etaoinshrdlucmfwypvbgk.,;";
  for (size_t i = 0; i < letters.size(); ++i) vocabulary[letters.substr(i, 1)] = i;
  const Json tokenizer = {
      {"version", "1.0"},
      {"added_tokens", Json::array()},
      {"pre_tokenizer",
       {{"type", "Split"},
        {"pattern", {{"Regex", "."}}},
        {"behavior", "Isolated"},
        {"invert", false}}},
      {"model", {{"type", "WordLevel"}, {"vocab", vocabulary}, {"unk_token", " "}}}};
  ASSERT_TRUE(WriteFileAtomic(folder + "/tokenizer.json", DumpJsonPretty(tokenizer)).ok());
}

// vLLM and SGLang run all experts of a block in one kernel; who loads them one by one may have them
// unlike.
TEST_F(ChooseRecipeTest, ExpertsAreOneUnitWhereTheLoaderRunsThemTogether) {
  const std::string model = folder_->path() + "/mixtral";
  ASSERT_TRUE(MakeFolders(model).ok());
  WriteMixture(model);
  request_.model_folder = model;
  SchemeRequest& scheme = request_.recipe.default_scheme;
  scheme = {};
  scheme.method = "rtn";
  scheme.group_size = 32;
  std::vector<const PlannedQuantization*> plans;
  for (const int bits : {3, 4}) {
    scheme.bits = bits;
    auto planned = MakePlan(request_);
    ASSERT_TRUE(planned.ok()) << planned.status();
    plans.push_back(plans_.emplace_back(*std::move(planned)).get());
  }
  SilentSink quiet;
  const auto apart = MeasureSensitivity(plans, 2, quiet);
  ASSERT_TRUE(apart.ok()) << apart.status();
  // Two blocks: q, k, v; o; of each of four experts gate and up, and down.
  EXPECT_EQ(apart->units.size(), 2U * (2 + 4 * 2));
  plans_.front()->request.output.loader = "vllm";
  const auto together = MeasureSensitivity(plans, 2, quiet);
  ASSERT_TRUE(together.ok()) << together.status();
  ASSERT_EQ(together->units.size(), 2U * 3);
  EXPECT_EQ(together->units[2].names.size(), 4U * 3);
}

TEST_F(ChooseRecipeTest, MeetsABudgetInKl) {
  request_.recipe.default_scheme.options.Set("max_kl", 0.02);
  const auto recipe = Choose();
  ASSERT_TRUE(recipe.ok()) << recipe.status();
  EXPECT_LE(KlOf(*recipe), 0.02);
  EXPECT_LT(PlanOf(*recipe).bits_per_weight, 5.0);
  EXPECT_FALSE(PathExists(request_.output_folder + "/.trial"));
}

TEST_F(ChooseRecipeTest, LeavesTheUsersOwnChoicesAlone) {
  Override own;
  own.match = "*.down_proj";
  own.scheme.method = "rtn";
  own.scheme.bits = 8;
  request_.recipe.overrides.push_back(own);
  request_.recipe.skip.push_back("*.layers.0.*");
  request_.recipe.default_scheme.options.Set("bits_per_weight", 3.5);
  const auto recipe = Choose();
  ASSERT_TRUE(recipe.ok()) << recipe.status();
  for (const ResolvedLinear& entry : PlanOf(*recipe).linears) {
    const bool first = entry.linear->name.find("layers.0.") != std::string::npos;
    if (entry.linear->role == LinearRole::kDown) {  // an override wins over skip
      EXPECT_EQ(entry.scheme->bits, 8) << entry.linear->name;
    } else {
      EXPECT_TRUE(!first || !entry.scheme.has_value()) << entry.linear->name;
    }
  }
}

TEST_F(ChooseRecipeTest, HandsTheOptionsOfTheBaseOn) {
  SchemeRequest& scheme = request_.recipe.default_scheme;
  scheme.options.Set("base", std::string("gptq"));
  scheme.options.Set("damping", 0.05);
  const auto recipe = Choose();
  ASSERT_TRUE(recipe.ok()) << recipe.status();
  for (const ResolvedLinear& entry : PlanOf(*recipe).linears) {
    if (!entry.scheme.has_value()) continue;
    EXPECT_EQ(entry.scheme->method, "gptq");
    EXPECT_EQ(entry.scheme->options.Number("damping"), 0.05) << entry.linear->name;
  }
  scheme.options.Set("base", std::string("rtn"));  // which has no damping
  EXPECT_EQ(ReasonOf(MakePlan(request_).status()), Reason::kRecipeInvalid);
}

TEST_F(ChooseRecipeTest, RefusesABudgetThatNothingMeets) {
  request_.recipe.default_scheme.options.Set("bits_per_weight", 1.6);
  EXPECT_EQ(ReasonOf(Choose().status()), Reason::kRecipeInvalid);
  request_.recipe.default_scheme.options.Set("bits_per_weight", 4.0);
  request_.recipe.default_scheme.options.Set("widths", std::string("3-4-8"));
  request_.output.format = "awq";  // holds 4
  EXPECT_EQ(ReasonOf(Choose().status()), Reason::kRecipeInvalid);
}

}  // namespace
}  // namespace quantd
