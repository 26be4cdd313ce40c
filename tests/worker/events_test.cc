#include "worker/runner/events.h"

#include <fcntl.h>
#include <unistd.h>

#include <random>
#include <string>
#include <vector>

#include "base/error.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace quantd {
namespace {

using testing::HasSubstr;
using testing::SizeIs;

std::vector<RunnerEvent> OneOfEach() {
  Report report;
  report.family = "llama";
  report.bits_per_weight = 4.125;
  for (const Stage stage :
       {Stage::kOpen, Stage::kCalibrate, Stage::kQuantize, Stage::kEvaluate, Stage::kWrite}) {
    report.seconds.emplace_back(stage, 0.5);
  }
  report.evaluation =
      EvaluationResult{.tokens = 9, .perplexity_original = 5, .perplexity_quantized = 6};
  LayerReport layer;
  layer.name = "model.layers.0.mlp.up_proj";
  layer.out_features = 8;
  layer.in_features = 4;
  layer.relative_output_error = 0.25;
  return {ProgressReport{
              .stage = Stage::kQuantize, .blocks_done = 3, .blocks_total = 8, .eta_seconds = 2.5},
          layer,
          SealedFile{.path = "quantd/report.json", .bytes = 12, .sha256 = std::string(64, 'a')},
          RunnerWarning{.text = "a \"quoted\"\nline"},
          RunnerResult{.report = report},
          RunnerError{.reason = Reason::kDiskFull,
                      .message = "disk full",
                      .violations = {{.where = "f", .got = "0 bytes", .wanted = "more"}}}};
}

TEST(Events, EveryKindSurvivesTheLine) {
  std::string text;
  for (const RunnerEvent& event : OneOfEach()) {
    const std::string line = ToLine(event);
    EXPECT_EQ(line.find('\n'), line.size() - 1) << line;
    text += line;
  }
  EventReader reader;
  std::vector<RunnerEvent> read;
  ASSERT_TRUE(reader.Feed(text, read).ok());
  ASSERT_TRUE(reader.Finish().ok());
  ASSERT_THAT(read, SizeIs(6));
  std::string again;
  for (const RunnerEvent& event : read) again += ToLine(event);
  EXPECT_EQ(again, text);
  const absl::Status error = std::get<RunnerError>(read[5]).status();
  EXPECT_EQ(ReasonOf(error), Reason::kDiskFull);
  ASSERT_THAT(ViolationsOf(error), SizeIs(1));
  EXPECT_EQ(ViolationsOf(error)[0].got, "0 bytes");
}

TEST(Events, AnyCutOfTheStreamGivesTheSameEvents) {
  std::string text;
  for (const RunnerEvent& event : OneOfEach()) text += ToLine(event);
  std::mt19937 random(7);
  for (int round = 0; round < 50; ++round) {
    EventReader reader;
    std::vector<RunnerEvent> read;
    size_t at = 0;
    while (at < text.size()) {
      const size_t length = std::min<size_t>(text.size() - at, random() % 40);
      ASSERT_TRUE(reader.Feed(std::string_view(text).substr(at, length), read).ok());
      at += length;
    }
    EXPECT_TRUE(reader.Finish().ok());
    EXPECT_THAT(read, SizeIs(6));
  }
}

TEST(Events, WhatIsNoEventIsRefused) {
  const std::string deep = "{\"event\":\"warning\",\"text\":" + std::string(100000, '[');
  const std::vector<std::string> hostile = {
      "",
      "null",
      "[]",
      "42",
      "\"progress\"",
      "{}",
      "{\"event\":7}",
      "{\"event\":\"explode\"}",
      "{\"event\":\"progress\",\"stage\":\"flying\"}",
      "{\"event\":\"progress\",\"stage\":\"open\",\"blocks_done\":-1}",
      "{\"event\":\"progress\",\"stage\":\"open\",\"blocks_done\":1e400}",
      "{\"event\":\"progress\",\"stage\":\"open\",\"tokens\":\"many\"}",
      "{\"event\":\"layer\",\"name\":\"x\",\"shape\":[1]}",
      "{\"event\":\"layer\",\"name\":\"x\",\"shape\":[1,2],\"bits\":99999999999}",
      "{\"event\":\"file\",\"path\":\"\",\"bytes\":1,\"sha256\":\"\"}",
      "{\"event\":\"file\",\"path\":\"/etc/passwd\",\"bytes\":1,\"sha256\":\"\"}",
      "{\"event\":\"file\",\"path\":\"a/../b\",\"bytes\":1,\"sha256\":\"\"}",
      "{\"event\":\"file\",\"path\":\"a//b\",\"bytes\":1,\"sha256\":\"\"}",
      "{\"event\":\"file\",\"path\":\"a/\",\"bytes\":1,\"sha256\":\"\"}",
      "{\"event\":\"file\",\"path\":\"a\\u0000b\",\"bytes\":1,\"sha256\":\"\"}",
      "{\"event\":\"file\",\"path\":\"a\",\"bytes\":-1,\"sha256\":\"\"}",
      "{\"event\":\"result\"}",
      "{\"event\":\"result\",\"report\":[]}",
      "{\"event\":\"result\",\"report\":{\"schema\":99}}",
      "{\"event\":\"error\",\"reason\":\"X\",\"violations\":[3]}",
      "{\"event\":\"warning\",\"text\":\"\xff\xfe\"}",
      deep,
  };
  for (const std::string& line : hostile) {
    const auto event = ParseEvent(line);
    ASSERT_FALSE(event.ok()) << line.substr(0, 100);
    EXPECT_EQ(ReasonOf(event.status()), Reason::kInternal) << line.substr(0, 100);
    EXPECT_LT(event.status().message().size(), 1000u);
  }
}

TEST(Events, AnUnknownReasonIsInternal) {
  const auto event = ParseEvent("{\"event\":\"error\",\"reason\":\"NEWER\",\"message\":\"m\"}");
  ASSERT_TRUE(event.ok());
  EXPECT_EQ(ReasonOf(std::get<RunnerError>(*event).status()), Reason::kInternal);
}

TEST(Events, ALineWithoutEndIsAnErrorAndHoldsNoMemory) {
  EventReader reader(/*max_line_bytes=*/1000);
  std::vector<RunnerEvent> read;
  const std::string block(300, 'x');
  ASSERT_TRUE(reader.Feed(block, read).ok());
  ASSERT_TRUE(reader.Feed(block, read).ok());
  ASSERT_TRUE(reader.Feed(block, read).ok());
  EXPECT_FALSE(reader.Feed(block, read).ok());
  EXPECT_FALSE(reader.Feed(ToLine(RunnerWarning{.text = "later"}), read).ok()) << "errors stay";
  EXPECT_TRUE(read.empty());
}

TEST(Events, EventsBeforeABadLineAreKept) {
  EventReader reader;
  std::vector<RunnerEvent> read;
  const std::string text =
      ToLine(RunnerWarning{.text = "one"}) + "garbage\n" + ToLine(RunnerWarning{.text = "two"});
  EXPECT_FALSE(reader.Feed(text, read).ok());
  EXPECT_THAT(read, SizeIs(1));
}

TEST(Events, AStreamThatEndsWithinALineIsAnError) {
  EventReader reader;
  std::vector<RunnerEvent> read;
  ASSERT_TRUE(reader.Feed("{\"event\":\"warn", read).ok());
  EXPECT_FALSE(reader.Finish().ok());
}

TEST(Events, EmptyLinesAreSkipped) {
  EventReader reader;
  std::vector<RunnerEvent> read;
  ASSERT_TRUE(reader.Feed("\n\n" + ToLine(RunnerWarning{.text = "x"}) + "\n", read).ok());
  EXPECT_TRUE(reader.Finish().ok());
  EXPECT_THAT(read, SizeIs(1));
}

TEST(Events, AWriterWhoseReaderIsGoneSaysSoOnceAndStops) {
  int ends[2];
  ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
  close(ends[0]);
  signal(SIGPIPE, SIG_IGN);
  EventWriter writer(ends[1]);
  writer.Write(RunnerWarning{.text = "x"});
  EXPECT_TRUE(writer.broken());
  writer.Write(RunnerWarning{.text = "y"});
  close(ends[1]);
}

}  // namespace
}  // namespace quantd
