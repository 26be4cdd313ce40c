// `quantd-worker quantize` as a person runs it: the program itself, on the bundled model.

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/files.h"
#include "base/json.h"
#include "engine/types/report.h"
#include "engine/types/request.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "process.h"
#include "tests/paths.h"
#include "worker/runner/child.h"
#include "worker/runner/exit_codes.h"

namespace quantd {
namespace {

using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

const std::string kModel = SourcePath("models/books-3m");
const std::string kProgram = BuiltPath("bin/quantd-worker");

class QuantizeCommandTest : public testing::Test {
 protected:
  QuantizeCommandTest()
      : folder_(TemporaryFolder::Create("command").value()), out_(folder_.path() + "/out") {}

  ProcessResult Run(std::vector<std::string> flags, ProcessOptions options = {}) {
    options.arguments = {kProgram, "quantize"};
    options.arguments.insert(options.arguments.end(), flags.begin(), flags.end());
    return RunProcess(std::move(options));
  }
  // Files below the output folder, hidden and temporary ones too.
  std::vector<std::string> Left() const {
    std::vector<std::string> files;
    if (!PathExists(out_)) return files;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(out_)) {
      files.push_back(entry.path().lexically_relative(out_).string());
    }
    return files;
  }

  TemporaryFolder folder_;
  std::string out_;
};

const std::vector<std::string> kQuick = {"--bits", "4", "--group-size", "128", "--no-evaluation"};

std::vector<std::string> Flags(std::vector<std::string> first,
                               const std::vector<std::string>& more = kQuick) {
  first.insert(first.end(), more.begin(), more.end());
  return first;
}

TEST_F(QuantizeCommandTest, ATableForPeople) {
  const ProcessResult result = Run({kModel, "--out", out_, "--bits", "8", "--granularity",
                                    "channel", "--eval-windows", "2", "--seq-len", "64"});
  ASSERT_EQ(result.exit_code, kExitDone) << result.err;
  EXPECT_THAT(result.out, StartsWith("scheme"));
  EXPECT_THAT(result.out, HasSubstr("rtn int8 channel sym"));
  EXPECT_THAT(result.out, HasSubstr(" -> "));
  EXPECT_THAT(result.err, Not(HasSubstr("\x1b"))) << "no bar and no colours where no terminal is";
  EXPECT_TRUE(PathExists(out_ + "/config.json"));
  EXPECT_TRUE(PathExists(out_ + "/quantd/manifest.json"));
}

TEST_F(QuantizeCommandTest, JsonIsTheReportOfTheArtifact) {
  const ProcessResult result = Run(Flags({kModel, "--out", out_, "--json"}));
  ASSERT_EQ(result.exit_code, kExitDone) << result.err;
  const auto printed = ParseJson(result.out, "stdout");
  ASSERT_TRUE(printed.ok()) << result.out;
  const auto stored =
      ParseJson(ReadFile(out_ + "/quantd/report.json", 1 << 24).value(), "report.json");
  ASSERT_TRUE(stored.ok());
  for (const auto& [key, value] : stored->items()) {
    EXPECT_EQ(DumpJson((*printed)[key]), DumpJson(value)) << key;
  }
  EXPECT_EQ(printed->size(), stored->size());
  EXPECT_TRUE(ReportFromJson(*printed).ok());
}

TEST_F(QuantizeCommandTest, ADryRunPrintsThePlanAndWritesNothing) {
  const ProcessResult text = Run(Flags({kModel, "--dry-run"}));
  ASSERT_EQ(text.exit_code, kExitDone) << text.err;
  EXPECT_THAT(text.out, HasSubstr("bits per weight"));
  const ProcessResult json = Run(Flags({kModel, "--dry-run", "--json", "--out", out_}));
  ASSERT_EQ(json.exit_code, kExitDone) << json.err;
  EXPECT_TRUE(ParseJson(json.out, "plan").ok());
  EXPECT_FALSE(PathExists(out_));
}

TEST_F(QuantizeCommandTest, EveryWrongFlagIsNamedAtOnce) {
  const ProcessResult result =
      Run({kModel, "--bits", "99", "--samples", "-4", "--granularity", "diagonal"});
  EXPECT_EQ(result.exit_code, kExitRefused);
  EXPECT_THAT(result.err, HasSubstr("bits"));
  EXPECT_THAT(result.err, HasSubstr("99"));
  EXPECT_THAT(result.err, HasSubstr("samples"));
  EXPECT_THAT(result.err, HasSubstr("diagonal"));
  EXPECT_THAT(result.err, HasSubstr("--out"));
  EXPECT_EQ(result.out, "");
}

TEST_F(QuantizeCommandTest, StatisticsAreSavedUsedAndMerged) {
  const std::vector<std::string> recipe = {"--method",   "awq", "--samples",       "2",
                                           "--seq-len",  "64",  "--no-evaluation", "--format",
                                           "dequantized"};
  const std::string a = folder_.path() + "/a", b = folder_.path() + "/b";
  const auto run = [&](std::vector<std::string> more) {
    more.insert(more.begin(), {kModel, "--out", out_, "--force"});
    return Run(Flags(std::move(more), recipe)).exit_code;
  };
  ASSERT_EQ(run({"--save-statistics", a}), kExitDone);
  ASSERT_EQ(run({"--save-statistics", b, "--calibration", std::string(kModel) + "/evaluation.txt"}),
            kExitDone);
  EXPECT_EQ(run({"--statistics", a}), kExitDone);
  EXPECT_EQ(run({"--statistics", b}), kExitFailed) << "those of another text";
  const auto merge = [&](const std::string& second) {
    return RunProcess({.arguments = {kProgram, "statistics", "merge", a, second, "--out",
                                     folder_.path() + "/c"}});
  };
  EXPECT_EQ(merge(a).exit_code, kExitRefused);
  const ProcessResult merged = merge(b);
  ASSERT_EQ(merged.exit_code, kExitDone) << merged.err;
  EXPECT_EQ(run({"--statistics", folder_.path() + "/c"}), kExitDone);
}

TEST_F(QuantizeCommandTest, AnalysisIsOneLineUnderTheTable) {
  const ProcessResult result = Run(
      {kModel, "--out", out_, "--eval-windows", "2", "--seq-len", "64", "--analyze", "--quiet"});
  ASSERT_EQ(result.exit_code, kExitDone) << result.err;
  EXPECT_THAT(result.out, HasSubstr("\nanalysis: output error "));
  EXPECT_THAT(result.out, HasSubstr("k-means"));
}

TEST_F(QuantizeCommandTest, UnknownFlagsAndCommandsAreBadUsage) {
  EXPECT_EQ(Run({kModel, "--out", out_, "--bitz", "4"}).exit_code, kExitRefused);
  EXPECT_EQ(RunProcess({.arguments = {kProgram, "quantise"}}).exit_code, kExitRefused);
  EXPECT_EQ(RunProcess({.arguments = {kProgram}}).exit_code, kExitRefused);
  EXPECT_EQ(Run({kModel, "--out", out_, "--threads", "0"}).exit_code, kExitRefused);
}

TEST_F(QuantizeCommandTest, HelpAndVersionGoToStdout) {
  const ProcessResult help = Run({"--help"});
  EXPECT_EQ(help.exit_code, kExitDone);
  for (const char* flag : {"--out", "--bits", "--json", "--threads", "--dry-run", "Exit codes"}) {
    EXPECT_THAT(help.out, HasSubstr(flag));
  }
  const ProcessResult version = RunProcess({.arguments = {kProgram, "--version"}});
  EXPECT_EQ(version.exit_code, kExitDone);
  EXPECT_THAT(version.out, StartsWith("quantd-worker "));
}

TEST_F(QuantizeCommandTest, BashCompletesCommandsAndFlags) {
  const ProcessResult script = RunProcess({.arguments = {kProgram, "completion", "bash"}});
  ASSERT_EQ(script.exit_code, kExitDone);
  const auto complete = [&](const std::string& words, int at) {
    return RunProcess({.arguments = {"/bin/bash", "-c",
                                     script.out + "COMP_WORDS=(" + words +
                                         "); COMP_CWORD=" + std::to_string(at) +
                                         "; _quantd_worker; echo ${COMPREPLY[@]}"}})
        .out;
  };
  EXPECT_EQ(complete("quantd-worker quan", 1), "quantize\n");
  EXPECT_THAT(complete("quantd-worker quantize --group", 2), HasSubstr("--group-size"));
}

TEST_F(QuantizeCommandTest, AModelThatIsNotThereIsRefused) {
  const ProcessResult result = Run(Flags({folder_.path() + "/nothing", "--out", out_}));
  EXPECT_EQ(result.exit_code, kExitRefused);
  EXPECT_THAT(result.err, HasSubstr("MODEL_NOT_FOUND"));
  EXPECT_FALSE(PathExists(out_));
}

TEST_F(QuantizeCommandTest, AGroupThatDoesNotDivideIsRefused) {
  const ProcessResult result =
      Run(Flags({kModel, "--out", out_}, {"--bits", "4", "--group-size", "100"}));
  EXPECT_EQ(result.exit_code, kExitRefused);
  EXPECT_THAT(result.err, HasSubstr("100"));
  EXPECT_FALSE(PathExists(out_));
}

TEST_F(QuantizeCommandTest, OutputOverTheModelIsRefused) {
  const ProcessResult result = Run(Flags({kModel, "--out", std::string(kModel) + "/../books-3m"}));
  EXPECT_EQ(result.exit_code, kExitRefused);
  EXPECT_THAT(result.err, HasSubstr("--out"));
}

TEST_F(QuantizeCommandTest, AnOutputFolderThatCannotBeMadeFails) {
  std::ofstream(folder_.path() + "/file") << "x";
  const ProcessResult result = Run(Flags({kModel, "--out", folder_.path() + "/file/out"}));
  EXPECT_EQ(result.exit_code, kExitFailed);
  EXPECT_THAT(result.err, HasSubstr(folder_.path() + "/file"));
}

TEST_F(QuantizeCommandTest, AFullDiskFailsAndLeavesNothing) {
  const ProcessResult result =
      Run(Flags({kModel, "--out", out_}), {.arguments = {}, .max_file_bytes = 100'000});
  EXPECT_EQ(result.exit_code, kExitFailed);
  EXPECT_THAT(result.err, HasSubstr("DISK_FULL"));
  EXPECT_THAT(Left(), testing::IsEmpty());
  EXPECT_FALSE(PathExists(out_));
}

TEST_F(QuantizeCommandTest, CtrlCStopsItAndLeavesNothing) {
  for (const int signal : {SIGINT, SIGTERM}) {
    const ProcessResult result =
        Run({kModel, "--out", out_, "-v", "--method", "rtn", "--no-journal"},
            {.arguments = {}, .signal_at = "model.layers.0", .signal = signal});
    EXPECT_EQ(result.exit_code, kExitInterrupted) << result.err;
    EXPECT_EQ(result.out, "");
    EXPECT_FALSE(PathExists(out_)) << testing::PrintToString(Left());
  }
}

TEST_F(QuantizeCommandTest, WhatIsDoneWhenItStopsIsGoneOnFrom) {
  const std::vector<std::string> arguments = {
      kModel, "--out", out_, "-v", "--method", "rtn", "--seq-len", "64", "--eval-windows", "2"};
  const ProcessResult stopped =
      Run(arguments, {.arguments = {}, .signal_at = "model.layers.0", .signal = SIGINT});
  EXPECT_EQ(stopped.exit_code, kExitInterrupted) << stopped.err;
  EXPECT_THAT(stopped.err, HasSubstr("the same command goes on from there"));
  EXPECT_TRUE(PathExists(out_ + "/.quantd-journal/block-00000.json"));
  const ProcessResult done = Run(arguments);
  EXPECT_EQ(done.exit_code, kExitDone) << done.err;
  EXPECT_THAT(done.err, HasSubstr("goes on with a run that did not end"));
  EXPECT_FALSE(PathExists(out_ + "/.quantd-journal"));
}

TEST_F(QuantizeCommandTest, PartsMakeTheWhole) {
  const std::string journal = folder_.path() + "/journal";
  const auto part = [&](std::vector<std::string> flags) {
    std::vector<std::string> arguments = {kModel, "--method",  "awq", "--samples",
                                          "2",    "--seq-len", "64",  "--no-evaluation"};
    arguments.insert(arguments.end(), flags.begin(), flags.end());
    return Run(arguments);
  };
  const ProcessResult relay = part({"--relay", "2", "--journal", journal, "--out", out_});
  EXPECT_EQ(relay.exit_code, kExitDone) << relay.err;
  const ProcessResult first = part({"--blocks", "0:2", "--journal", journal, "--out", out_});
  EXPECT_EQ(first.exit_code, kExitDone) << first.err;
  const ProcessResult early = part({"--assemble", journal, "--out", out_});
  EXPECT_EQ(early.exit_code, kExitRefused) << early.err;
  const ProcessResult last = part({"--blocks", "2:4", "--journal", journal, "--out", out_});
  EXPECT_EQ(last.exit_code, kExitDone) << last.err;
  const ProcessResult whole = part({"--assemble", journal, "--out", out_});
  EXPECT_EQ(whole.exit_code, kExitDone) << whole.err;
  EXPECT_TRUE(PathExists(out_ + "/model.safetensors"));
  const ProcessResult strange = part({"--blocks", "2-4", "--journal", journal, "--out", out_});
  EXPECT_EQ(strange.exit_code, kExitRefused);
  EXPECT_THAT(strange.err, HasSubstr("FIRST:END"));
}

TEST_F(QuantizeCommandTest, AMissedGateHasAnExitCodeAndKeepsTheResult) {
  const ProcessResult result =
      Run({kModel, "--out", out_, "--bits", "4", "--group-size", "128", "--eval-windows", "2",
           "--seq-len", "64", "--gate-kl", "0.000001"});
  EXPECT_EQ(result.exit_code, kExitGateMissed) << result.err;
  EXPECT_THAT(result.err, HasSubstr("QUALITY_GATE"));
  EXPECT_TRUE(PathExists(out_ + "/quantd/report.json"));
}

TEST_F(QuantizeCommandTest, ARequestFileAndEventsMakeARunner) {
  QuantizeRequest request;
  request.model_folder = kModel;
  request.output_folder = out_;
  request.evaluation.enabled = false;
  const std::string file = folder_.path() + "/request.json";
  ASSERT_TRUE(WriteFileAtomic(file, DumpJson(ToJson(request))).ok());
  auto child = Child::Start({.program = kProgram,
                             .arguments = {"quantize", "--request-file", file, "--events-fd", "3"},
                             .folder = folder_.path(),
                             .limits = {}},
                            [] {});
  ASSERT_TRUE(child.ok());
  const auto report = (*child)->Outcome();
  ASSERT_TRUE(report.ok()) << report.status();
  size_t layers = 0, files = 0;
  for (const RunnerEvent& event : (*child)->TakeEvents()) {
    layers += std::holds_alternative<LayerReport>(event) ? 1 : 0;
    const auto* sealed = std::get_if<SealedFile>(&event);
    if (sealed == nullptr) continue;
    ++files;
    const std::string text = ReadFile(out_ + "/" + sealed->path, int64_t{1} << 30).value();
    EXPECT_EQ(static_cast<int64_t>(text.size()), sealed->bytes) << sealed->path;
  }
  EXPECT_EQ(layers, report->layers.size());
  EXPECT_GE(files, report->files.size()) << "every file of the manifest was told";
}

TEST_F(QuantizeCommandTest, ARunnerWithTooLittleMemorySaysSo) {
#if defined(QUANTD_SANITIZED)
  GTEST_SKIP() << "sanitizers reserve more memory than any limit";
#endif
  QuantizeRequest request;
  request.model_folder = kModel;
  request.output_folder = out_;
  request.resources.threads = 2;
  const std::string file = folder_.path() + "/request.json";
  ASSERT_TRUE(WriteFileAtomic(file, DumpJson(ToJson(request))).ok());
  auto child = Child::Start({.program = kProgram,
                             .arguments = {"quantize", "--request-file", file, "--events-fd", "3"},
                             .folder = folder_.path(),
                             .limits = {.data_bytes = int64_t{24} << 20}},
                            [] {});
  ASSERT_TRUE(child.ok());
  EXPECT_EQ(ReasonOf((*child)->Outcome().status()), Reason::kRunnerMemoryLimit)
      << (*child)->Outcome().status();
}

TEST_F(QuantizeCommandTest, ABadRequestFileIsRefused) {
  const std::string file = folder_.path() + "/request.json";
  ASSERT_TRUE(WriteFileAtomic(file, "{\"model_folder\": 7, \"colour\": \"red\"}").ok());
  const ProcessResult result = Run({"--request-file", file, "--out", out_});
  EXPECT_EQ(result.exit_code, kExitRefused);
  EXPECT_THAT(result.err, HasSubstr("colour"));
  EXPECT_THAT(result.err, HasSubstr("model_folder"));
}

}  // namespace
}  // namespace quantd
