#include "engine/block/saved_statistics.h"

#include <filesystem>
#include <fstream>
#include <map>

#include "base/digest.h"
#include "base/error.h"
#include "engine/run/quantize.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/paths.h"

namespace quantd {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

namespace fs = std::filesystem;

// Counts what went through the blocks.
class Counter : public ProgressSink {
 public:
  void OnProgress(const ProgressReport& report) override { tokens = report.tokens; }
  void OnLayer(const LayerReport& /*report*/) override {
    if (++layers >= cancel_after_layers) cancelled = true;
  }
  void OnFile(const SealedFile& /*file*/) override {}
  void OnWarning(std::string_view text) override { warnings.emplace_back(text); }
  bool Cancelled() override { return cancelled; }

  int64_t tokens = 0;
  int layers = 0, cancel_after_layers = 1 << 30;
  bool cancelled = false;
  std::vector<std::string> warnings;
};

constexpr int64_t kTokens = int64_t{4} * 128;  // of the calibration

class SavedStatisticsTest : public ::testing::Test {
 protected:
  std::string Path(const std::string& name) const { return folder_.path() + "/" + name; }
  QuantizeRequest Request(const std::string& recipe, const std::string& from,
                          const std::string& to) const {
    QuantizeRequest request;
    request.model_folder = SourcePath("models/books-3m");
    request.output_folder = Path("out");
    request.recipe = *ParseRecipe(recipe);
    request.evaluation.enabled = false;
    request.calibration.samples = 4;
    request.calibration.tokens_per_sample = 128;
    request.output.format = "dequantized";
    if (!from.empty()) request.calibration.statistics_folder = Path(from);
    if (!to.empty()) request.calibration.save_statistics_folder = Path(to);
    return request;
  }
  // The digest of the weights.
  absl::StatusOr<std::string> Run(const QuantizeRequest& request) {
    counter_ = Counter();
    return RunAgain(request);
  }
  absl::StatusOr<std::string> RunAgain(const QuantizeRequest& request) {
    auto planned = MakePlan(request);
    if (!planned.ok()) return planned.status();
    auto report = Quantize(**planned, counter_);
    if (!report.ok()) return report.status();
    report_ = *std::move(report);
    return Sha256Hex(*ReadFile(request.output_folder + "/model.safetensors", 1 << 30));
  }
  std::string Text(const std::string& name, const std::string& words) const {
    std::ofstream file(Path(name));
    for (int i = 0; i < 900; ++i) file << words << i % 37 << (i % 5 == 0 ? ".\n" : " ");
    return Path(name);
  }

  TemporaryFolder folder_ = *TemporaryFolder::Create("saved-statistics-test");
  Counter counter_;
  Report report_;
};

TEST_F(SavedStatisticsTest, SavedStatisticsGiveTheSameBytesWithoutARun) {
  for (const std::string recipe :
       {"default: {method: gptq, bits: 4}", "default: {method: awq, bits: 4}",
        "default: {method: awq+gptq, bits: 4}"}) {
    const auto plain = Run(Request(recipe, "", ""));
    ASSERT_TRUE(plain.ok()) << plain.status();
    const std::string digest = report_.calibration_digest;
    const auto saved = Run(Request(recipe, "", "saved"));
    ASSERT_TRUE(saved.ok()) << saved.status();
    EXPECT_EQ(counter_.tokens, 4 * kTokens);
    const auto known = Run(Request(recipe, "saved", ""));
    ASSERT_TRUE(known.ok()) << known.status();
    EXPECT_EQ(*plain, *saved) << recipe;
    EXPECT_EQ(*plain, *known) << recipe;
    EXPECT_EQ(counter_.tokens, 0) << recipe;
    EXPECT_THAT(counter_.warnings, IsEmpty());
    EXPECT_EQ(report_.calibration_digest, digest);
    EXPECT_EQ(report_.calibration_tokens, kTokens);
    fs::remove_all(Path("saved"));
  }
}

TEST_F(SavedStatisticsTest, ARunThatWasStoppedGoesOnWithTheBlocksItKnows) {
  const std::string recipe = "default: {method: gptq, bits: 3}";
  const auto plain = Run(Request(recipe, "", ""));
  ASSERT_TRUE(plain.ok()) << plain.status();
  counter_ = Counter();
  counter_.cancel_after_layers = 14;  // of 28: two blocks
  EXPECT_EQ(ReasonOf(RunAgain(Request(recipe, "saved", "saved")).status()), Reason::kCancelled);
  const auto folder = StatisticsFolder::Open(Path("saved"));
  ASSERT_TRUE(folder.ok()) << folder.status();
  EXPECT_THAT(folder->blocks(), SizeIs(2));
  const auto resumed = Run(Request(recipe, "saved", "saved"));
  ASSERT_TRUE(resumed.ok()) << resumed.status();
  EXPECT_EQ(*plain, *resumed);
  ASSERT_THAT(counter_.warnings, SizeIs(1));
  EXPECT_THAT(counter_.warnings[0], HasSubstr("2 of 4 blocks"));
  EXPECT_THAT(StatisticsFolder::Open(Path("saved"))->blocks(), SizeIs(4));
}

TEST_F(SavedStatisticsTest, OnlyBlocksBeforeAMissingOneAreRun) {
  const std::string recipe = "default: {method: gptq, bits: 3}";
  const auto plain = Run(Request(recipe, "", "saved"));
  ASSERT_TRUE(plain.ok()) << plain.status();
  fs::remove(Path("saved/block-00001.safetensors"));
  const auto known = Run(Request(recipe, "saved", ""));
  ASSERT_TRUE(known.ok()) << known.status();
  EXPECT_EQ(*plain, *known);
  EXPECT_EQ(counter_.tokens, 2 * kTokens);
}

TEST_F(SavedStatisticsTest, HistogramsOfScaledInputsAreGatheredAgain) {
  const std::string recipe = "default: {method: smoothquant, activations: static}";
  QuantizeRequest request = Request(recipe, "", "saved");
  request.output.format = "compressed-tensors";
  request.recipe.default_scheme.options.Set("observer", std::string("mse"));
  const auto plain = Run(request);
  ASSERT_TRUE(plain.ok()) << plain.status();
  request.calibration.statistics_folder = Path("saved");
  const auto known = Run(request);
  ASSERT_TRUE(known.ok()) << known.status();
  EXPECT_EQ(*plain, *known);
  EXPECT_EQ(counter_.tokens, 4 * kTokens);
}

TEST_F(SavedStatisticsTest, MergedStatisticsStandForTheirTexts) {
  const std::string recipe = "default: {method: gptq, bits: 3}";
  for (const std::string name : {"one", "two"}) {
    QuantizeRequest request = Request(recipe, "", name);
    request.calibration.text = Text(name + ".txt", name + " thing after another ");
    ASSERT_TRUE(Run(request).ok());
  }
  ASSERT_TRUE(MergeStatistics(*StatisticsFolder::Open(Path("one")),
                              *StatisticsFolder::Open(Path("two")), Path("both"))
                  .ok());
  const auto merged = Run(Request(recipe, "both", ""));
  ASSERT_TRUE(merged.ok()) << merged.status();
  EXPECT_EQ(counter_.tokens, 0);
  EXPECT_EQ(report_.calibration_tokens, 2 * kTokens);
  fs::remove(Path("both/block-00003.safetensors"));
  EXPECT_THAT(std::string(Run(Request(recipe, "both", "")).status().message()),
              HasSubstr("block 3"));
}

TEST_F(SavedStatisticsTest, StatisticsOfSomethingElseAreRefused) {
  const std::string recipe = "default: {method: awq, bits: 3}";
  ASSERT_TRUE(Run(Request(recipe, "", "saved")).ok());
  QuantizeRequest other = Request(recipe, "saved", "");
  other.calibration.samples = 3;
  const absl::Status status = Run(other).status();
  EXPECT_EQ(ReasonOf(status), Reason::kInvalidField);
  EXPECT_THAT(std::string(status.message()), HasSubstr("4 windows of 128"));
  EXPECT_EQ(ReasonOf(Run(Request(recipe, "nowhere", "")).status()), Reason::kInvalidField);
  QuantizeRequest behind = Request(recipe, "saved", "");
  behind.recipe.propagate = Propagate::kQuantized;
  EXPECT_THAT(std::string(MakePlan(behind).status().message()),
              HasSubstr("calibration.statistics_folder"));
}

}  // namespace
}  // namespace quantd
