#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "base/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "terminal/comparison.h"
#include "terminal/figures.h"
#include "terminal/progress_bar.h"
#include "terminal/table.h"

namespace quantd {
namespace {

using testing::HasSubstr;
using testing::Not;

TEST(Figures, BytesHaveThreeDigitsAndNeverAThousand) {
  EXPECT_EQ(HumanBytes(0), "0 B");
  EXPECT_EQ(HumanBytes(999), "999 B");
  EXPECT_EQ(HumanBytes(1000), "1.00 kB");
  EXPECT_EQ(HumanBytes(9'994), "9.99 kB");
  EXPECT_EQ(HumanBytes(9'996), "10.0 kB");
  EXPECT_EQ(HumanBytes(999'400), "999 kB");
  EXPECT_EQ(HumanBytes(999'600), "1.00 MB");
  EXPECT_EQ(HumanBytes(INT64_MAX), "9.22 EB");
}

TEST(Figures, TimesAreReadAsPeopleWriteThem) {
  EXPECT_EQ(HumanSeconds(0.4), "0.40 s");
  EXPECT_EQ(HumanSeconds(59.99), "1:00 min");
  EXPECT_EQ(HumanSeconds(7391), "2:03:11 h");
  EXPECT_EQ(ClockFace(-3), "0:00");
  EXPECT_EQ(ClockFace(NAN), "0:00");
  EXPECT_EQ(ClockFace(3600), "1:00:00");
}

TEST(Table, AlignsAndNeverLetsTextMoveTheCursor) {
  Table table({{.title = "name"}, {.title = "n", .align = Align::kRight}});
  table.Add({"é", "1"});
  table.Add({"evil\x1b[2J", "1000", "beyond"});
  EXPECT_EQ(table.Text(),
            "name         n\n"
            "--------  ----\n"
            "é            1\n"
            "evil?[2J  1000\n");
}

TEST(Table, GivesWayToTheTerminal) {
  Table table(
      {{.title = "name"}, {.title = "what it does"}, {.title = "n", .align = Align::kRight}});
  table.Add({"rtn", "rounds each weight to the nearest code", "1"});
  table.Add({"hqq", "supercalifragilisticexpialidocious é", "22"});
  EXPECT_EQ(table.Text(30),
            "name  what it does           n\n"
            "----  --------------------  --\n"
            "rtn   rounds each weight     1\n"
            "      to the nearest code\n"
            "hqq   supercalifragilistic  22\n"
            "      expialidocious é\n");
  EXPECT_EQ(table.Text(0), table.Text(200));
  for (int columns = 22; columns < 60; ++columns) {
    std::istringstream lines(table.Text(columns));
    for (std::string line; std::getline(lines, line);) {
      const auto shown = std::count_if(line.begin(), line.end(), [](char c) {
        return (static_cast<unsigned char>(c) & 0xC0) != 0x80;
      });
      ASSERT_LE(shown, columns) << line;
    }
  }
}

TEST(Table, KeepEndCutsTheBeginning) {
  EXPECT_EQ(KeepEnd("model.layers.3", 20), "model.layers.3");
  EXPECT_EQ(KeepEnd("model.layers.3", 5), "…rs.3");
  EXPECT_EQ(KeepEnd("ééé", 2), "…é");
}

Report ReportOf(int groups_of_down) {
  Report report;
  for (int i = 0; i < 10; ++i) {
    Json entry = {
        {"name", "l"},       {"method", "rtn"},   {"bits", 4},           {"granularity", "group"},
        {"group_size", 128}, {"symmetric", true}, {"scale_rule", "mse"}, {"activations", "none"}};
    if (i < groups_of_down) entry["bits"] = 8;
    report.resolved_recipe.push_back(entry);
  }
  report.resolved_recipe.push_back({{"name", "lm_head"}, {"skip", true}});
  report.bits_per_weight = 4.125;
  report.bytes_original = 6'560'000;
  report.bytes_quantized = 2'470'000;
  return report;
}

TEST(ResultTable, ShowsWhatWasMeasuredAndADashForWhatWasNot) {
  Report report = ReportOf(0);
  const std::string bare =
      ResultTable(std::array{ResultRow{.scheme = DescribeSchemes(report), .report = report}});
  EXPECT_THAT(bare, HasSubstr("rtn int4 g128 sym mse"));
  EXPECT_THAT(bare, HasSubstr("6.56 MB -> 2.47 MB"));
  report.evaluation = EvaluationResult{.tokens = 1,
                                       .perplexity_original = 38.331,
                                       .perplexity_quantized = 38.69,
                                       .kl_mean = 0.00917,
                                       .top1_agreement = 0.9211};
  const std::string whole = ResultTable(std::array{ResultRow{.scheme = "x", .report = report}});
  for (const char* text : {"38.33 -> 38.69", "0.00917", "92.11 %", "4.125"})
    EXPECT_THAT(whole, HasSubstr(text));
}

TEST(ResultTable, NamesTheCommonestSchemeAndCountsTheOthers) {
  EXPECT_EQ(DescribeSchemes(ReportOf(3)), "rtn int4 g128 sym mse +3 others");
  EXPECT_EQ(DescribeSchemes(Report()), "16 bit");
}

ComparedResult Compared(const std::string& name, double bits, std::optional<double> divergence) {
  ComparedResult result{.name = name, .report = ReportOf(0)};
  result.report.bits_per_weight = bits;
  if (divergence.has_value()) {
    result.report.evaluation = EvaluationResult{.tokens = 10,
                                                .perplexity_original = 20,
                                                .perplexity_quantized = 21,
                                                .kl_mean = *divergence,
                                                .kl_p99 = 1,
                                                .top1_agreement = 0.5};
  }
  return result;
}

TEST(Comparison, TheFrontierIsWhatNoOtherBeats) {
  std::vector<ComparedResult> results = {
      Compared("worse", 4.5, 0.011),  Compared("eight", 8, 0.001),  Compared("four", 4.125, 0.01),
      Compared("same", 4.125, 0.01),  Compared("three", 3.1, 0.05), Compared("blind", 2, {}),
      Compared("wasteful", 9, 0.001),
  };
  MarkFrontier(results);
  std::vector<std::string> names, frontier;
  for (const ComparedResult& result : results) {
    names.push_back(result.name);
    if (result.on_frontier) frontier.push_back(result.name);
  }
  EXPECT_THAT(names,
              testing::ElementsAre("blind", "three", "four", "same", "worse", "eight", "wasteful"));
  EXPECT_THAT(frontier, testing::ElementsAre("three", "four", "same", "eight"));
  const std::string table = ComparisonTable(results, 0);
  for (const char* text : {"best", "0.05000", "3.100", "-", "*"}) {
    EXPECT_THAT(table, HasSubstr(text));
  }
  const Json json = ToJson(std::span<const ComparedResult>(results));
  EXPECT_EQ(json[0]["kl_mean"], nullptr);
  EXPECT_EQ(json[1]["frontier"], true);
}

TEST(Comparison, SaysWhatCannotBeCompared) {
  std::vector<ComparedResult> results = {Compared("a", 4, 0.1), Compared("b", 4, 0.2),
                                         Compared("c", 4, {})};
  EXPECT_THAT(Incomparable(results), testing::IsEmpty());
  results[1].report.evaluation_digest = "other";
  results[2].report.model_fingerprint = "other";
  EXPECT_THAT(Incomparable(results),
              testing::ElementsAre(HasSubstr("different models"), HasSubstr("same tokens")));
  EXPECT_THAT(Incomparable({}), testing::IsEmpty());
}

class BarTest : public testing::Test {
 protected:
  BarTest() {
    EXPECT_EQ(pipe2(ends_.data(), O_NONBLOCK), 0);
    options_ = {.mode = BarMode::kBar, .descriptor = ends_[1], .columns = 100};
  }
  ~BarTest() override {
    close(ends_[0]);
    close(ends_[1]);
  }
  std::string Written() {
    std::string text(1 << 16, ' ');
    const ssize_t got = read(ends_[0], text.data(), text.size());
    text.resize(got > 0 ? static_cast<size_t>(got) : 0);
    return text;
  }
  static ProgressReport Progress(int64_t done) {
    return {.stage = Stage::kQuantize,
            .blocks_done = done,
            .blocks_total = 8,
            .bytes_written = 2'830'000,
            .eta_seconds = 7};
  }
  static LayerReport Layer() {
    LayerReport layer;
    layer.name = "model.layers.3.mlp.down_proj";
    layer.weight_snr_db = 21.4;
    layer.relative_output_error = 0.012;
    return layer;
  }

  std::array<int, 2> ends_;
  ProgressBarOptions options_;
  ManualClock clock_{absl::FromUnixSeconds(1'000'000)};
};

TEST_F(BarTest, ShowsBlocksLayerErrorBytesAndTimeLeft) {
  ProgressBar bar(options_, clock_);
  bar.OnLayer(Layer());
  bar.OnProgress(Progress(4));
  const std::string line = bar.Line(100);
  for (const char* text : {"[========>", "4/8 blocks", "quantize", "mlp.down_proj", "21.4 dB",
                           "1.20 %", "2.83 MB", "0:07 left"}) {
    EXPECT_THAT(line, HasSubstr(text));
  }
  clock_.Advance(absl::Seconds(3));
  EXPECT_THAT(bar.Line(100), HasSubstr("0:04 left"));
}

TEST_F(BarTest, EightyColumnsShowLayerErrorAndTimeLeft) {
  ProgressBar bar(options_, clock_);
  bar.OnLayer(Layer());
  bar.OnProgress(Progress(4));
  for (const char* text : {"4/8 blocks", "down_proj", "21.4 dB 1.20 %", "0:07 left"}) {
    EXPECT_THAT(bar.Line(79), HasSubstr(text));
  }
}

TEST_F(BarTest, NeverWiderThanTheTerminal) {
  ProgressBar bar(options_, clock_);
  bar.OnProgress(Progress(4));
  LayerReport layer = Layer();
  layer.name = std::string(300, 'm');
  bar.OnLayer(layer);
  for (int columns = 20; columns < 200; ++columns) {
    const std::string line = bar.Line(columns);
    int shown = 0;
    for (const char c : line) shown += (static_cast<unsigned char>(c) & 0xC0) != 0x80 ? 1 : 0;
    ASSERT_LE(shown, columns) << line;
  }
}

TEST_F(BarTest, RedrawsAtMostTenTimesASecond) {
  ProgressBar bar(options_, clock_);
  int drawn = 0;
  for (int i = 0; i < 1000; ++i) {  // one second, a report each millisecond
    clock_.Advance(absl::Milliseconds(1));
    bar.OnProgress(Progress(i % 8));
    drawn += Written().empty() ? 0 : 1;
  }
  EXPECT_GE(drawn, 9);
  EXPECT_LE(drawn, 11);
}

TEST_F(BarTest, FinishLeavesAnEmptyLine) {
  ProgressBar bar(options_, clock_);
  bar.OnProgress(Progress(1));
  Written();
  bar.Finish();
  EXPECT_EQ(Written(), "\r\x1b[K");
  bar.Finish();
  EXPECT_EQ(Written(), "");
}

TEST_F(BarTest, WithoutATerminalNothingIsDrawn) {
  options_.mode = BarMode::kAuto;
  ProgressBar bar(options_, clock_);
  bar.OnProgress(Progress(1));
  bar.OnLayer(Layer());
  EXPECT_EQ(Written(), "");
  bar.Note("warning: \x1b[31mred");
  EXPECT_EQ(Written(), "warning: ?[31mred\n");
}

TEST_F(BarTest, PlainModeIsALinePerBlockForLogs) {
  options_.mode = BarMode::kPlain;
  ProgressBar bar(options_, clock_);
  for (int i = 0; i < 5; ++i) bar.OnProgress(Progress(1));
  bar.OnProgress(Progress(2));
  const std::string text = Written();
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 2) << text;
  EXPECT_THAT(text, Not(HasSubstr("\x1b")));
}

}  // namespace
}  // namespace quantd
