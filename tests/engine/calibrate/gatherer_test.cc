#include "engine/calibrate/gatherer.h"

#include <random>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/files.h"
#include "gtest/gtest.h"

namespace quantd {
namespace {

constexpr int64_t kTokens = 33, kWindows = 7;
constexpr int64_t kWideChannels = 640;  // more than one panel

std::vector<float> Window(int64_t window, int64_t channels) {
  std::mt19937 generator(static_cast<uint32_t>(window));
  std::normal_distribution<float> normal;
  std::vector<float> x(static_cast<size_t>(kTokens * channels));
  for (float& value : x) value = normal(generator);
  return x;
}

// Two inputs, of kWideChannels and 96 channels, through batches of `at_once` windows on `threads`
// threads.
std::vector<InputStatistics> Gather(std::vector<StatisticsNeeds> needs, int64_t at_once,
                                    int threads, const std::string& scratch_folder = "") {
  ThreadPool pool(threads);
  Backend& backend = **FindBackend("cpu");
  Gatherer gatherer({.needs = std::move(needs), .scratch_folder = scratch_folder}, at_once);
  for (int64_t first = 0; first < kWindows; first += at_once) {
    const int64_t count = std::min(at_once, kWindows - first);
    EXPECT_TRUE(pool.ForEach(count,
                             [&](int64_t slot) {
                               const std::vector<float> wide = Window(first + slot, kWideChannels);
                               const std::vector<float> narrow = Window(first + slot, 96);
                               gatherer.observer(slot).OnInput(0, wide.data(), kTokens,
                                                               kWideChannels);
                               gatherer.observer(slot).OnInput(1, narrow.data(), kTokens, 96);
                               return absl::OkStatus();
                             })
                    .ok());
    EXPECT_TRUE(gatherer.EndBatch(count, backend, pool).ok());
  }
  return gatherer.Finish().inputs;
}

double Product(int64_t channels, int64_t i, int64_t j) {
  double sum = 0;
  for (int64_t window = 0; window < kWindows; ++window) {
    const std::vector<float> x = Window(window, channels);
    for (int64_t t = 0; t < kTokens; ++t) {
      sum += static_cast<double>(x[static_cast<size_t>(t * channels + i)]) *
             static_cast<double>(x[static_cast<size_t>(t * channels + j)]);
    }
  }
  return sum;
}

constexpr StatisticsNeeds kWhole = {.moments = true, .gram_block = kWholeGram, .histogram = false};
constexpr StatisticsNeeds kBlocks = {.moments = true, .gram_block = 32, .histogram = true};

TEST(GathererTest, GramMatricesAreSumsOfProducts) {
  const auto statistics = Gather({kWhole, kBlocks}, 3, 2);
  const Gram& whole = statistics[0].gram;
  ASSERT_TRUE(whole.whole());
  const Gram& blocks = statistics[1].gram;
  ASSERT_EQ(blocks.block, 32);
  for (const auto& [i, j] : std::vector<std::pair<int64_t, int64_t>>{
           {0, 0}, {3, 600}, {600, 3}, {639, 639}, {511, 512}, {512, 511}, {3, 300}}) {
    EXPECT_NEAR(whole.At(i, j), Product(kWideChannels, i, j), 1e-3);
  }
  for (const auto& [i, j] : std::vector<std::pair<int64_t, int64_t>>{{0, 31}, {40, 63}, {95, 64}}) {
    EXPECT_NEAR(blocks.At(i, j), Product(96, i, j), 1e-3);
  }
  std::vector<float> part(16 * 16);
  blocks.CopyBlock(48, 16, part.data());
  EXPECT_EQ(part[1], blocks.At(48, 49));
  EXPECT_EQ(statistics[1].histogram.total(), kWindows * kTokens * 96);
  EXPECT_TRUE(statistics[0].histogram.empty());
  EXPECT_EQ(statistics[0].tokens, kWindows * kTokens);
}

TEST(GathererTest, SameBitsForAnyBatchesAndThreads) {
  const auto wanted = Gather({kWhole, kBlocks}, 1, 1);
  for (const auto& [at_once, threads] :
       std::vector<std::pair<int64_t, int>>{{2, 2}, {7, 3}, {4, 1}}) {
    const auto got = Gather({kWhole, kBlocks}, at_once, threads);
    for (size_t input = 0; input < 2; ++input) {
      EXPECT_EQ(got[input].sum_squares, wanted[input].sum_squares);
      EXPECT_EQ(got[input].histogram, wanted[input].histogram);
      const std::span<const float> values = got[input].gram.values();
      const std::span<const float> same = wanted[input].gram.values();
      EXPECT_TRUE(std::equal(values.begin(), values.end(), same.begin(), same.end()));
    }
  }
}

TEST(GathererTest, SameBitsInAFile) {
  const auto folder = TemporaryFolder::Create("gatherer-test");
  const auto wanted = Gather({kWhole, kBlocks}, 3, 2);
  const auto got = Gather({kWhole, kBlocks}, 3, 2, folder->path());
  const std::span<const float> values = got[0].gram.values(), same = wanted[0].gram.values();
  EXPECT_TRUE(std::equal(values.begin(), values.end(), same.begin(), same.end()));
  const auto nowhere = Gram::Make(640, 640, folder->path() + "/none");
  EXPECT_EQ(ReasonOf(nowhere.status()), Reason::kIo);
}

TEST(GramTest, BlocksAreCopiedAcrossPanels) {
  const auto statistics = Gather({kWhole, {}}, 4, 2);
  const Gram& gram = statistics[0].gram;
  std::vector<float> part(40 * 40);
  gram.CopyBlock(500, 40, part.data());
  for (const auto& [i, j] :
       std::vector<std::pair<int64_t, int64_t>>{{0, 0}, {5, 30}, {30, 5}, {39, 39}}) {
    EXPECT_EQ(part[static_cast<size_t>(i * 40 + j)], gram.At(500 + i, 500 + j));
  }
}

TEST(GathererTest, BlocksThatDoNotDivideBecomeTheWhole) {
  const auto statistics =
      Gather({{.moments = true, .gram_block = 100, .histogram = false}, {}}, 4, 2);
  EXPECT_TRUE(statistics[0].gram.whole());
  EXPECT_EQ(statistics[1].channels(), 0);  // nobody asked
}

TEST(StatisticsTest, DividedByScalesIsWhatScaledInputsGive) {
  auto statistics = Gather({{}, kBlocks}, 7, 1);
  std::vector<float> scales(96);
  for (size_t k = 0; k < scales.size(); ++k) scales[k] = 0.5F + static_cast<float>(k % 5);
  InputStatistics divided = statistics[1].Copy("").value();
  divided.DivideBy(scales);
  EXPECT_NEAR(divided.gram.At(33, 40), statistics[1].gram.At(33, 40) / (scales[33] * scales[40]),
              1e-4);
  EXPECT_NEAR(divided.sum_squares[7], statistics[1].sum_squares[7] / (scales[7] * scales[7]), 1e-6);
  EXPECT_FLOAT_EQ(divided.max_abs[9], statistics[1].max_abs[9] / scales[9]);
  EXPECT_TRUE(divided.histogram.empty());
}

TEST(StatisticsNeedsTest, UnionAsksForAll) {
  const StatisticsNeeds both = kBlocks | StatisticsNeeds{false, 48, false};
  EXPECT_EQ(both.gram_block, 96);  // blocks that hold both
  EXPECT_TRUE(both.histogram);
  EXPECT_EQ((kBlocks | kWhole).gram_block, kWholeGram);
  EXPECT_FALSE((StatisticsNeeds{} | StatisticsNeeds{}).any());
}

}  // namespace
}  // namespace quantd
