// Runs that die and go on, and runs in parts: the bytes are those of one undisturbed run.
#include "engine/run/journal.h"

#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "base/digest.h"
#include "base/error.h"
#include "base/files.h"
#include "engine/run/quantize.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/engine/silent_sink.h"
#include "tests/paths.h"

namespace quantd {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;

namespace fs = std::filesystem;

const std::string kModel = SourcePath("models/books-3m");

// Stops a run when so many blocks are done, as a kill would: what is sealed stays.
class StoppingSink : public SilentSink {
 public:
  explicit StoppingSink(int64_t blocks) : blocks_(blocks) {}
  void OnProgress(const ProgressReport& report) override {
    stopped_ = stopped_ || report.blocks_done >= blocks_;
  }
  void OnWarning(std::string_view text) override { warnings.emplace_back(text); }
  bool Cancelled() override { return stopped_; }
  std::vector<std::string> warnings;

 private:
  int64_t blocks_;
  bool stopped_ = false;
};

class JournalTest : public ::testing::TestWithParam<const char*> {
 protected:
  QuantizeRequest Request(const std::string& recipe, const std::string& out) const {
    QuantizeRequest request;
    request.model_folder = kModel;
    request.output_folder = folder_.path() + "/" + out;
    request.recipe = *ParseRecipe(recipe);
    request.calibration.text = Excerpt("calibration.txt");
    request.evaluation.text = Excerpt("evaluation.txt");
    request.evaluation.windows = 4;
    request.evaluation.tokens_per_window = 64;
    request.calibration.samples = 4;
    request.calibration.tokens_per_sample = 64;
    return request;
  }
  // The beginning of a text of the model: a few windows of it are wanted, many times.
  std::string Excerpt(const std::string& name) const {
    const std::string path = folder_.path() + "/" + name;
    if (!fs::exists(path)) {
      const std::string text = *ReadFile(kModel + "/" + name, 1 << 30);
      EXPECT_TRUE(WriteFileAtomic(path, text.substr(0, text.find("\n\n", 20000))).ok());
    }
    return path;
  }
  std::string JournalFolder() const { return folder_.path() + "/journal"; }
  RunOptions With(Journaling journaling, double share = 0.02) const {
    return {.journaling = journaling, .journal_folders = {JournalFolder()}, .journal_share = share};
  }
  static absl::StatusOr<Report> Run(const QuantizeRequest& request, const RunOptions& options,
                                    int64_t stop_after = 1000) {
    auto planned = MakePlan(request);
    if (!planned.ok()) return planned.status();
    StoppingSink sink(stop_after);
    return Quantize(**planned, sink, options);
  }
  // Names and digests of the files of an artifact, but for what tells times.
  static std::map<std::string, std::string> Digests(const std::string& artifact) {
    std::map<std::string, std::string> digests;
    for (const auto& entry : fs::recursive_directory_iterator(artifact)) {
      const std::string name = fs::relative(entry.path(), artifact).string();
      if (!entry.is_regular_file() || name.starts_with("quantd/") || name == "README.md") continue;
      digests[name] = Sha256Hex(*ReadFile(entry.path().string(), 1 << 30));
    }
    return digests;
  }
  void ExpectSame(const Report& one, const QuantizeRequest& of_one, const Report& other,
                  const QuantizeRequest& of_other) {
    EXPECT_EQ(Digests(of_one.output_folder), Digests(of_other.output_folder));
    EXPECT_EQ(one.warnings, other.warnings);
    EXPECT_EQ(one.cache, other.cache);
    ASSERT_EQ(one.layers.size(), other.layers.size());
    for (size_t i = 0; i < one.layers.size(); ++i) {
      EXPECT_EQ(one.layers[i].name, other.layers[i].name);
      EXPECT_EQ(one.layers[i].weight_snr_db, other.layers[i].weight_snr_db);
      EXPECT_EQ(one.layers[i].figures, other.layers[i].figures);
      EXPECT_EQ(one.layers[i].relative_output_error, other.layers[i].relative_output_error);
    }
    ASSERT_EQ(one.evaluation.has_value(), other.evaluation.has_value());
    if (!one.evaluation.has_value()) return;
    EXPECT_EQ(one.evaluation->kl_mean, other.evaluation->kl_mean);
    EXPECT_EQ(one.evaluation->perplexity_quantized, other.evaluation->perplexity_quantized);
    EXPECT_EQ(one.evaluation->top1_agreement, other.evaluation->top1_agreement);
  }

  TemporaryFolder folder_ = *TemporaryFolder::Create("journal-test");
};

TEST_P(JournalTest, ARunThatStoppedGoesOnToTheSameBytes) {
  const QuantizeRequest undisturbed = Request(GetParam(), "undisturbed");
  const auto wanted = Run(undisturbed, {});
  ASSERT_TRUE(wanted.ok()) << wanted.status();
  for (const double share : {0.02, 1.0}) {
    const QuantizeRequest request = Request(GetParam(), "resumed");
    for (const int64_t blocks : {1, 2}) {
      const auto stopped = Run(request, With(Journaling::kGoOn, share), blocks);
      ASSERT_EQ(ReasonOf(stopped.status()), Reason::kCancelled) << stopped.status();
    }
    EXPECT_TRUE(fs::exists(JournalFolder() + "/block-00001.json"));
    const auto report = Run(request, With(Journaling::kResume, share));
    ASSERT_TRUE(report.ok()) << report.status();
    ExpectSame(*wanted, undisturbed, *report, request);
    EXPECT_FALSE(fs::exists(JournalFolder()));
  }
}

INSTANTIATE_TEST_SUITE_P(
    Methods, JournalTest,
    ::testing::Values("default: {method: awq, bits: 4}",
                      "{default: {method: awq, bits: 4}, propagate: quantized}",
                      "default: {method: gptq, bits: 4, symmetric: true}",
                      "default: {method: smoothquant, activations: static}",
                      "default: {method: int8}", "default: {method: rtn, bits: 4}",
                      "{default: {method: rtn, bits: 4}, kv_cache: fp8}",
                      "{default: {method: awq, bits: 4}, propagate: quantized, kv_cache: fp8}"));

class DamagedJournalTest : public JournalTest {
 protected:
  // A journal of a run that stopped behind its third block, with activations at every block.
  void Stop(const QuantizeRequest& request) {
    const auto stopped = Run(request, With(Journaling::kNew, 1.0), 3);
    ASSERT_EQ(ReasonOf(stopped.status()), Reason::kCancelled) << stopped.status();
  }
  std::string PathOf(const std::string& name) const { return JournalFolder() + "/" + name; }
  void FlipByte(const std::string& name, int64_t from_end) {
    std::fstream file(PathOf(name), std::ios::in | std::ios::out | std::ios::binary);
    ASSERT_TRUE(file.good()) << name;
    file.seekg(-from_end, std::ios::end);
    const char byte = static_cast<char>(file.get());
    file.seekp(-from_end, std::ios::end);
    file.put(static_cast<char>(byte ^ 1));
  }
};

constexpr std::string_view kAwq = "default: {method: awq, bits: 4}";

TEST_F(DamagedJournalTest, WhatIsDamagedIsDoneAgain) {
  const QuantizeRequest undisturbed = Request(std::string(kAwq), "undisturbed");
  const auto wanted = Run(undisturbed, {});
  ASSERT_TRUE(wanted.ok()) << wanted.status();
  const QuantizeRequest request = Request(std::string(kAwq), "resumed");
  const std::vector<std::function<void()>> damages = {
      [&] { FlipByte("block-00001.safetensors", 100); },
      [&] { FlipByte("block-00002.json", 20); },
      [&] { FlipByte("block-00000.rows.safetensors", 1); },
      [&] { FlipByte("boundary-00003.safetensors", 5); },
      [&] { fs::resize_file(PathOf("block-00002.safetensors"), 1000); },
      [&] { fs::resize_file(PathOf("block-00000.json"), 10); },
      [&] { fs::remove(PathOf("block-00001.rows.safetensors")); },
      [&] { std::ofstream(PathOf("block-00003.json")) << "{}"; },
  };
  for (size_t i = 0; i < damages.size(); ++i) {
    SCOPED_TRACE(i);
    Stop(request);
    damages[i]();
    const auto report = Run(request, With(Journaling::kResume));
    ASSERT_TRUE(report.ok()) << report.status();
    ExpectSame(*wanted, undisturbed, *report, request);
  }
}

TEST_F(DamagedJournalTest, AStrangerIsRefusedByName) {
  Stop(Request(std::string(kAwq), "one"));
  QuantizeRequest other = Request("default: {method: awq, bits: 3}", "other");
  other.output.format = "dequantized";
  other.calibration.seed = 5;
  const auto refused = Run(other, With(Journaling::kResume));
  EXPECT_EQ(ReasonOf(refused.status()), Reason::kInvalidField);
  for (const char* what : {"linears", "format", "calibration"}) {
    EXPECT_THAT(std::string(refused.status().message()), HasSubstr(what));
  }
  // Unless the run only goes on with what is its own.
  EXPECT_TRUE(Run(other, With(Journaling::kGoOn)).ok());
}

TEST_F(DamagedJournalTest, ThreadsAndMemoryAreNotPartOfTheRun) {
  QuantizeRequest request = Request(std::string(kAwq), "one");
  request.resources.threads = 1;
  Stop(request);
  request.resources.threads = 2;
  EXPECT_TRUE(Run(request, With(Journaling::kResume)).ok());
}

TEST_F(DamagedJournalTest, OnlyItsOwnFilesGo) {
  const QuantizeRequest request = Request(std::string(kAwq), "one");
  Stop(request);
  std::ofstream(PathOf("notes.txt")) << "mine";
  ASSERT_TRUE(Run(request, With(Journaling::kResume)).ok());
  EXPECT_THAT(*ListFolder(JournalFolder()), ::testing::ElementsAre("notes.txt"));
}

class PartsTest : public JournalTest {
 protected:
  absl::Status Part(const QuantizeRequest& request, BlockRange range, const std::string& folder) {
    auto planned = MakePlan(request);
    if (!planned.ok()) return planned.status();
    SilentSink sink;
    return QuantizeBlocks(**planned, range, folder_.path() + "/" + folder, sink);
  }
  absl::Status Relay(const QuantizeRequest& request, const std::vector<int64_t>& cuts,
                     const std::string& folder) {
    auto planned = MakePlan(request);
    if (!planned.ok()) return planned.status();
    SilentSink sink;
    return RelayActivations(**planned, cuts, folder_.path() + "/" + folder, sink);
  }
};

TEST_P(PartsTest, AssembledTheyAreOneRun) {
  const QuantizeRequest whole = Request(GetParam(), "whole");
  const auto wanted = Run(whole, {});
  ASSERT_TRUE(wanted.ok()) << wanted.status();
  const QuantizeRequest request = Request(GetParam(), "assembled");
  // One that starts at its relayed activations, one that has none and runs up to its range.
  ASSERT_TRUE(Relay(request, {1}, "first").ok());
  EXPECT_TRUE(Part(request, {.first = 1, .last = 3}, "first").ok());
  EXPECT_TRUE(Part(request, {.first = 3, .last = 4}, "second").ok());
  const RunOptions assemble = {
      .journaling = Journaling::kAssemble,
      .journal_folders = {folder_.path() + "/first", folder_.path() + "/second"}};
  const auto early = Run(request, assemble);
  EXPECT_EQ(ReasonOf(early.status()), Reason::kInvalidField);
  EXPECT_THAT(std::string(early.status().message()), HasSubstr("no whole block 0"));
  EXPECT_TRUE(Part(request, {.first = 0, .last = 1}, "second").ok());
  const auto report = Run(request, assemble);
  ASSERT_TRUE(report.ok()) << report.status();
  ExpectSame(*wanted, whole, *report, request);
}

INSTANTIATE_TEST_SUITE_P(Methods, PartsTest,
                         ::testing::Values("default: {method: awq, bits: 4}",
                                           "default: {method: gptq, bits: 4, symmetric: true}",
                                           "default: {method: int8, activations: static}",
                                           "default: {method: rtn, bits: 4}",
                                           "{default: {method: awq, bits: 4}, kv_cache: fp8}"));

TEST_F(PartsTest, WhatCannotBeCutIsRefused) {
  const QuantizeRequest quantized =
      Request("{default: {method: awq, bits: 4}, propagate: quantized}", "one");
  EXPECT_THAT(std::string(Part(quantized, {.first = 0, .last = 2}, "journal").message()),
              HasSubstr("recipe.propagate"));
  const QuantizeRequest request = Request(std::string(kAwq), "one");
  EXPECT_THAT(std::string(Part(request, {.first = 2, .last = 9}, "journal").message()),
              HasSubstr("0:4"));
  EXPECT_THAT(std::string(Part(request, {.first = 3, .last = 2}, "journal").message()),
              HasSubstr("3:2"));
}

// Bytes that this process has read from files, by the kernel's own count.
int64_t BytesRead() {
  std::ifstream io("/proc/self/io");
  std::string key;
  int64_t value = 0;
  io >> key >> value;
  EXPECT_EQ(key, "rchar:");
  return value;
}

TEST_F(JournalTest, WeightsAreReadOnce) {
  QuantizeRequest request = Request(std::string(kAwq), "one");
  request.evaluation.enabled = false;
  auto planned = MakePlan(request);
  ASSERT_TRUE(planned.ok()) << planned.status();
  ASSERT_TRUE((*planned)->plan.hold_weights);
  SilentSink sink;
  const auto run = [&] {
    const int64_t before = BytesRead();
    EXPECT_TRUE(Quantize(**planned, sink).ok());
    return BytesRead() - before;
  };
  const int64_t held = run();
  (*planned)->plan.hold_weights = false;
  const int64_t read_again = run();
  int64_t blocks = 0;
  for (const ResolvedLinear& entry : (*planned)->plan.linears) {
    if (entry.scheme.has_value()) blocks += 2 * entry.linear->parameters();
  }
  // Without: once for the forward pass, once or more for the search, once to round.
  EXPECT_GE(read_again - held, 2 * blocks);
}

}  // namespace
}  // namespace quantd
