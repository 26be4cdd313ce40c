#include "engine/calibrate/statistics_folder.h"

#include <cmath>
#include <filesystem>
#include <random>
#include <vector>

#include "base/files.h"
#include "engine/calibrate/statistics_file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace quantd {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

constexpr int64_t kChannels = 12, kBlock = 4;
constexpr StatisticsNeeds kAll = {.moments = true, .gram_block = kBlock, .histogram = true};
constexpr StatisticsNeeds kMoments = {.moments = true, .gram_block = 0, .histogram = false};

// All statistics of `tokens` random rows, by their definitions.
InputStatistics Gathered(const std::vector<float>& x) {
  InputStatistics statistics(kChannels);
  const auto tokens = static_cast<int64_t>(x.size()) / kChannels;
  statistics.Add(x.data(), tokens);
  statistics.histogram.Add(x.data(), tokens * kChannels);
  statistics.gram = Gram::Make(kChannels, kBlock, "").value();
  for (int64_t i = 0; i < kChannels; ++i) {
    for (int64_t j = 0; j < kBlock; ++j) {
      double sum = 0;
      for (int64_t t = 0; t < tokens; ++t) {
        sum += static_cast<double>(x[static_cast<size_t>(t * kChannels + i)]) *
               static_cast<double>(x[static_cast<size_t>(t * kChannels + i / kBlock * kBlock + j)]);
      }
      statistics.gram.blocks.data()[i * kBlock + j] = static_cast<float>(sum);
    }
  }
  return statistics;
}

std::vector<float> Rows(int64_t tokens, uint32_t seed, float scale) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal(0, scale);
  std::vector<float> x(static_cast<size_t>(tokens * kChannels));
  for (float& value : x) value = normal(generator);
  return x;
}

void ExpectSame(const InputStatistics& a, const InputStatistics& b) {
  EXPECT_EQ(a.tokens, b.tokens);
  EXPECT_EQ(a.sum_abs, b.sum_abs);
  EXPECT_EQ(a.sum_squares, b.sum_squares);
  EXPECT_EQ(a.max_abs, b.max_abs);
  EXPECT_EQ(a.min, b.min);
  EXPECT_EQ(a.max, b.max);
  EXPECT_EQ(a.histogram, b.histogram);
  EXPECT_EQ(a.gram.block, b.gram.block);
  const auto first = a.gram.values(), second = b.gram.values();
  EXPECT_TRUE(std::equal(first.begin(), first.end(), second.begin(), second.end()));
}

class StatisticsFolderTest : public ::testing::Test {
 protected:
  std::string Path(const std::string& name) const { return folder_.path() + "/" + name; }
  static StatisticsKey Key(const std::string& text) {
    return {.engine_version = "1",
            .model_fingerprint = "model",
            .compute = "f32",
            .sources = {{.digest = text, .samples = 4, .tokens_per_sample = 9, .tokens = 36}}};
  }
  // A folder with blocks 0 and 2 of those rows, the second input of each empty.
  StatisticsFolder Folder(const std::string& name, const StatisticsKey& key,
                          const std::vector<float>& x) const {
    auto folder = StatisticsFolder::Create(Path(name), key);
    EXPECT_TRUE(folder.ok()) << folder.status();
    for (const int64_t block : {0, 2}) {
      std::vector<InputStatistics> inputs(3);
      inputs[0] = Gathered(x);
      inputs[2] = Gathered(x);
      EXPECT_TRUE(folder->Write(block, inputs).ok());
    }
    return *std::move(folder);
  }

  TemporaryFolder folder_ = *TemporaryFolder::Create("statistics-test");
};

TEST_F(StatisticsFolderTest, WhatIsReadIsWhatWasWritten) {
  const InputStatistics written = Gathered(Rows(9, 1, 3));
  Folder("a", Key("text"), Rows(9, 1, 3));
  const auto folder = StatisticsFolder::Open(Path("a"));
  ASSERT_TRUE(folder.ok()) << folder.status();
  EXPECT_THAT(folder->blocks(), ElementsAre(0, 2));
  EXPECT_THAT(DifferencesOf(folder->key(), Key("text")), SizeIs(0));
  EXPECT_EQ(folder->key().tokens(), 36);
  const std::vector<StatisticsNeeds> needs = {kAll, {}, kAll};
  ASSERT_TRUE(folder->Serves(2, needs));
  const auto read = folder->Read(2, needs, "");
  ASSERT_TRUE(read.ok()) << read.status();
  ASSERT_THAT(*read, SizeIs(3));
  ExpectSame((*read)[0], written);
  EXPECT_EQ((*read)[1].channels(), 0);
  ExpectSame((*read)[2], written);
}

TEST_F(StatisticsFolderTest, ServesWhatItHoldsAndLeavesOutTheRest) {
  const StatisticsFolder folder = Folder("a", Key("text"), Rows(9, 1, 3));
  const auto serves = [&](int64_t block, StatisticsNeeds needs) {
    const std::vector<StatisticsNeeds> first = {needs};
    return folder.Serves(block, first);
  };
  EXPECT_TRUE(serves(0, kAll));
  EXPECT_TRUE(serves(0, kMoments));
  EXPECT_FALSE(serves(1, kMoments));
  EXPECT_TRUE(serves(1, {}));
  EXPECT_FALSE(serves(0, {.moments = true, .gram_block = kWholeGram}));
  EXPECT_FALSE(serves(0, {.moments = true, .gram_block = 6}));
  const std::vector<StatisticsNeeds> second = {{}, kMoments};
  EXPECT_FALSE(folder.Serves(0, second));
  const std::vector<StatisticsNeeds> needs = {kMoments};
  const auto read = folder.Read(0, needs, "");
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_TRUE((*read)[0].gram.empty());
  EXPECT_TRUE((*read)[0].histogram.empty());
}

TEST_F(StatisticsFolderTest, AFileThatIsGoneIsNotServed) {
  const StatisticsFolder folder = Folder("a", Key("text"), Rows(9, 1, 3));
  const std::vector<StatisticsNeeds> needs = {kAll};
  std::filesystem::remove(Path("a/block-00002.safetensors"));
  EXPECT_FALSE(folder.Serves(2, needs));
  EXPECT_TRUE(folder.Serves(0, needs));
}

TEST_F(StatisticsFolderTest, MergedEqualsGatheredFromBoth) {
  // Ranges far apart: the histograms have different widths.
  const std::vector<float> x = Rows(9, 1, 3), y = Rows(14, 2, 0.01F);
  std::vector<float> both = x;
  both.insert(both.end(), y.begin(), y.end());
  const InputStatistics whole = Gathered(both);
  const StatisticsFolder first = Folder("a", Key("one"), x), second = Folder("b", Key("two"), y);
  ASSERT_TRUE(MergeStatistics(first, second, Path("c")).ok());
  const auto merged = StatisticsFolder::Open(Path("c"));
  ASSERT_TRUE(merged.ok()) << merged.status();
  EXPECT_THAT(merged->key().sources, SizeIs(2));
  EXPECT_EQ(merged->key().tokens(), 72);
  EXPECT_NE(merged->key().digest(), "one");
  const auto inputs = merged->ReadAll(2);
  ASSERT_TRUE(inputs.ok()) << inputs.status();
  const InputStatistics& sum = (*inputs)[0];
  EXPECT_EQ(sum.tokens, whole.tokens);
  EXPECT_EQ(sum.max_abs, whole.max_abs);
  EXPECT_EQ(sum.min, whole.min);
  EXPECT_EQ(sum.max, whole.max);
  EXPECT_EQ(sum.histogram, whole.histogram);
  for (size_t k = 0; k < kChannels; ++k) {
    EXPECT_NEAR(sum.sum_abs[k], whole.sum_abs[k], 1e-12 * whole.sum_abs[k]);
    EXPECT_NEAR(sum.sum_squares[k], whole.sum_squares[k], 1e-12 * whole.sum_squares[k]);
  }
  const double energy = static_cast<double>(whole.gram.At(0, 0));
  for (size_t i = 0; i < kChannels * kBlock; ++i) {
    EXPECT_NEAR(sum.gram.values()[i], whole.gram.values()[i], 1e-6 * energy);
  }
}

TEST_F(StatisticsFolderTest, WhatCannotBeAddedIsRefused) {
  const std::vector<float> x = Rows(9, 1, 3);
  const StatisticsFolder first = Folder("a", Key("one"), x);
  const StatisticsFolder same_text = Folder("b", Key("one"), x);
  const absl::Status twice = MergeStatistics(first, same_text, Path("out"));
  EXPECT_THAT(std::string(twice.message()), HasSubstr("a text that is in both"));
  StatisticsKey other = Key("two");
  other.model_fingerprint = "another";
  const absl::Status models = MergeStatistics(first, Folder("c", other, x), Path("out"));
  EXPECT_EQ(ReasonOf(models), Reason::kInvalidField);
  EXPECT_THAT(std::string(models.message()), HasSubstr("model_fingerprint"));
  const auto fewer = StatisticsFolder::Create(Path("d"), Key("two"));
  EXPECT_THAT(std::string(MergeStatistics(first, *fewer, Path("out")).message()),
              HasSubstr("blocks"));
  EXPECT_FALSE(PathExists(Path("out")));
}

TEST_F(StatisticsFolderTest, AFolderOfSomethingElseIsNotWrittenTo) {
  Folder("a", Key("one"), Rows(9, 1, 3));
  const auto again = StatisticsFolder::Create(Path("a"), Key("one"));
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_THAT(again->blocks(), SizeIs(2));
  const auto other = StatisticsFolder::Create(Path("a"), Key("two"));
  EXPECT_EQ(ReasonOf(other.status()), Reason::kAlreadyExists);
}

TEST_F(StatisticsFolderTest, FilesThatLieAreRefused) {
  const StatisticsFolder folder = Folder("a", Key("one"), Rows(9, 1, 3));
  const std::string path = Path("a/block-00000.safetensors");
  const std::vector<StatisticsNeeds> needs = {kAll};
  // Statistics of another width than the index says.
  std::vector<InputStatistics> narrow(1);
  narrow[0] = InputStatistics(5);
  ASSERT_TRUE(WriteStatistics(path, narrow).ok());
  EXPECT_EQ(ReasonOf(folder.Read(0, needs, "").status()), Reason::kModelCorrupt);
  std::filesystem::resize_file(path, std::filesystem::file_size(path) - 8);
  EXPECT_EQ(ReasonOf(folder.ReadAll(0).status()), Reason::kModelCorrupt);
  ASSERT_TRUE(WriteFileAtomic(Path("a/index.json"), "{\"schema\": 2}").ok());
  EXPECT_FALSE(StatisticsFolder::Open(Path("a")).ok());
  EXPECT_EQ(ReasonOf(StatisticsFolder::Open(Path("nowhere")).status()), Reason::kInvalidField);
}

}  // namespace
}  // namespace quantd
