// Folding scales leaves the function of every family alone, as long as nothing is quantized.

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <memory>
#include <random>
#include <set>

#include "engine/block/choose_transforms.h"
#include "engine/block/transformed_block.h"
#include "engine/model/forward.h"
#include "engine/model/registry.h"
#include "engine/model/scaling_groups.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/engine/method/method_context.h"
#include "tests/engine/open_model.h"
#include "tests/paths.h"

namespace quantd {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr int64_t kTokens = 24;

// Statistics of inputs whose channels differ by powers of ten, so that scaling pays.
std::vector<InputStatistics> UnevenStatistics(const BlockSpec& block, uint32_t seed) {
  std::vector<InputStatistics> all;
  std::mt19937 random(seed);
  std::normal_distribution<double> magnitude(0, 2);
  for (const LinearSpec& linear : block.linears) {
    const auto input = static_cast<size_t>(linear.input);
    if (all.size() <= input) all.resize(input + 1);
    if (all[input].channels() > 0) continue;
    all[input] = InputStatistics(linear.in_features);
    all[input].tokens = 1000;
    for (size_t k = 0; k < all[input].sum_abs.size(); ++k) {
      const double mean = std::exp(magnitude(random));
      all[input].sum_abs[k] = 1000 * mean;
      all[input].sum_squares[k] = 1500 * mean * mean;
      all[input].max_abs[k] = static_cast<float>(4 * mean);
    }
  }
  return all;
}

class TransformTest : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    const std::string folder = SourcePath("tests/golden/models/") + GetParam();
    auto checkpoint = OpenCheckpoint(folder);
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
    planned_.checkpoint = *std::move(checkpoint);
    auto model = ReadModelSpec(**OpenModelFolder(folder), planned_.checkpoint);
    ASSERT_TRUE(model.ok()) << model.status();
    planned_.plan.model = *std::move(model);
  }

  const ModelSpec& model() const { return planned_.plan.model; }

  // All linears of a block by awq, a scale per row; those in `skipped` not at all.
  std::vector<ResolvedLinear> Resolved(const BlockSpec& block,
                                       const std::set<LinearRole>& skipped = {}) {
    std::vector<ResolvedLinear> linears;
    for (const LinearSpec& linear : block.linears) {
      ResolvedLinear entry{.linear = &linear, .scheme = std::nullopt};
      SchemeRequest request;
      request.granularity = Granularity::kChannel;
      auto scheme = FindMethod("awq")->resolve(request, linear, DType::kF32);
      EXPECT_TRUE(scheme.ok()) << scheme.status();
      const bool stays = skipped.contains(linear.role) || IsRouting(linear.role);
      if (!stays) entry.scheme = *std::move(scheme);
      linears.push_back(std::move(entry));
    }
    return linears;
  }

  BlockTransform Choose(const BlockSpec& spec, std::vector<InputStatistics>& statistics,
                        const std::set<LinearRole>& skipped = {}) {
    const std::vector<ResolvedLinear> linears = Resolved(spec, skipped);
    Block block{.spec = spec,
                .index = 0,
                .linears = linears,
                .sources = SourcesOf(planned_.checkpoint, spec),
                .transform = {}};
    block.transform.linears.resize(linears.size());
    block.statistics = std::move(statistics);
    auto warnings = ChooseTransforms(planned_, TestContext(), block);
    EXPECT_TRUE(warnings.ok()) << warnings.status();
    warnings_ = *std::move(warnings);
    statistics = std::move(block.statistics);
    return std::move(block.transform);
  }

  // The block with the transform applied to its weights in f32.
  BlockWeights Transformed(const BlockSpec& block, const BlockTransform& transform) {
    Backend& backend = **FindBackend("cpu");
    BlockWeights weights = *LoadBlock(model(), block, SourcesOf(planned_.checkpoint, block),
                                      planned_.checkpoint, backend, ComputeType::kF32);
    weights.norms = *LoadNorms(model(), block, planned_.checkpoint, transform.norms);
    for (size_t i = 0; i < block.linears.size(); ++i) {
      const LinearSpec& linear = block.linears[i];
      if (transform.linears[i].empty()) continue;
      const AlignedBuffer<float> values = *TransformedValues(
          WeightSource(planned_.checkpoint, linear, linear.name + ".weight"), transform.linears[i]);
      const WeightRows rows = {values.data(), DType::kF32, linear.out_features, linear.in_features};
      weights.linears[i].weight = *backend.Prepare(rows, ComputeType::kF32);
      auto& bias = weights.linears[i].bias;
      if (bias == nullptr || transform.linears[i].rows.empty()) continue;
      std::vector<float> scaled(bias->span().begin(), bias->span().end());
      for (size_t n = 0; n < scaled.size(); ++n) scaled[n] *= transform.linears[i].rows[n];
      bias = Shared(scaled);
    }
    return weights;
  }

  static std::shared_ptr<const AlignedBuffer<float>> Shared(const std::vector<float>& values) {
    AlignedBuffer<float> copy(static_cast<int64_t>(values.size()));
    std::copy(values.begin(), values.end(), copy.data());
    return std::make_shared<const AlignedBuffer<float>>(std::move(copy));
  }

  std::vector<float> Forward(const BlockSpec& block, const BlockWeights& weights,
                             std::vector<float> x) {
    const RopeTables ropes = RopeTables::Make(model(), kTokens);
    const absl::Status status = ForwardBlock(model(), block, weights, ropes, **FindBackend("cpu"),
                                             ComputeType::kF32, kTokens, x.data(), nullptr);
    EXPECT_TRUE(status.ok()) << status;
    return x;
  }

  PlannedQuantization planned_;
  std::vector<std::string> warnings_;
};

bool NormsBefore(const BlockSpec& block) { return block.Has(NormRole::kAttention); }

std::vector<float> RandomInput(int64_t count) {
  std::mt19937 random(7);
  std::normal_distribution<float> normal;
  std::vector<float> x(static_cast<size_t>(count));
  for (float& value : x) value = normal(random);
  return x;
}

TEST_P(TransformTest, TheFunctionStaysTheSame) {
  uint32_t seed = 1;
  for (const BlockSpec& block : model().blocks) {
    std::vector<InputStatistics> statistics = UnevenStatistics(block, seed++);
    const BlockTransform transform = Choose(block, statistics);
    // Every linear that can took part, or the test would show nothing.
    std::set<int> taking_part;
    for (const ScalingGroup& group : ScalingGroupsOf(model(), block)) {
      taking_part.insert(group.linears.begin(), group.linears.end());
    }
    // Without norms before them, those that read the stream cannot.
    EXPECT_GE(taking_part.size(), NormsBefore(block) ? transform.linears.size() / 2 : 2);
    for (const int i : taking_part) {
      const auto at = static_cast<size_t>(i);
      EXPECT_FALSE(transform.linears[at].columns.empty()) << block.linears[at].name;
    }
    const std::vector<float> x = RandomInput(kTokens * model().hidden);
    const auto original = *LoadBlock(model(), block, SourcesOf(planned_.checkpoint, block),
                                     planned_.checkpoint, **FindBackend("cpu"), ComputeType::kF32);
    const std::vector<float> wanted = Forward(block, original, x);
    const std::vector<float> got = Forward(block, Transformed(block, transform), x);
    double error = 0, energy = 0;
    for (size_t i = 0; i < wanted.size(); ++i) {
      // What the block adds to its input.
      const double added = static_cast<double>(wanted[i]) - static_cast<double>(x[i]);
      const double difference = static_cast<double>(got[i]) - static_cast<double>(wanted[i]);
      error += difference * difference;
      energy += added * added;
    }
    // The bias of a norm is rounded to its type; where that is f32, nothing shows.
    EXPECT_LT(std::sqrt(error / energy), 4e-6) << block.prefix;
  }
}

TEST_P(TransformTest, GainsAreRepresentableInTheirType) {
  const BlockSpec& block = model().blocks.front();
  std::vector<InputStatistics> statistics = UnevenStatistics(block, 3);
  const BlockTransform transform = Choose(block, statistics);
  EXPECT_EQ(transform.norms.empty(), !NormsBefore(block));
  for (const auto& [norm, gain] : transform.norms) {
    const DType dtype = planned_.checkpoint.Find(norm)->dtype;
    for (const float value : gain) {
      float stored[2] = {}, again = 0;
      NarrowFromF32(&value, 1, dtype, stored);
      WidenToF32(stored, dtype, 1, &again);
      EXPECT_EQ(again, value) << norm;
    }
  }
}

TEST_P(TransformTest, ChannelsOfOneRowShareAScale) {
  const BlockSpec& block = model().blocks.front();
  std::vector<InputStatistics> statistics = UnevenStatistics(block, 4);
  const BlockTransform transform = Choose(block, statistics);
  for (const ScalingGroup& group : ScalingGroupsOf(model(), block)) {
    if (group.source < 0) continue;
    const Transform& source = transform.linears[static_cast<size_t>(group.source)];
    const Transform& reader = transform.linears[static_cast<size_t>(group.linears.front())];
    ASSERT_EQ(reader.columns.size(), group.source_rows.size());
    for (size_t k = 0; k < reader.columns.size(); ++k) {
      EXPECT_NEAR(reader.columns[k] * source.rows[static_cast<size_t>(group.source_rows[k])], 1,
                  1e-6);
    }
  }
}

TEST_P(TransformTest, StatisticsAreThoseOfTheFoldedInput) {
  const BlockSpec& block = model().blocks.front();
  const std::vector<InputStatistics> before = UnevenStatistics(block, 5);
  std::vector<InputStatistics> after = UnevenStatistics(block, 5);
  const BlockTransform transform = Choose(block, after);
  for (size_t i = 0; i < block.linears.size(); ++i) {
    const auto input = static_cast<size_t>(block.linears[i].input);
    const std::vector<float>& scales = transform.linears[i].columns;
    for (size_t k = 0; k < scales.size(); ++k) {
      const double wide = static_cast<double>(scales[k]);
      EXPECT_NEAR(after[input].sum_squares[k] * wide * wide / before[input].sum_squares[k], 1,
                  1e-6);
    }
  }
}

// Those with the seven linears of Llama.
class SevenLinearsTransformTest : public TransformTest {};

TEST_P(SevenLinearsTransformTest, ThatDifferKeepTheirScaleAndSaySo) {
  const BlockSpec& block = model().blocks.front();
  std::vector<InputStatistics> statistics = UnevenStatistics(block, 6);
  // q stays in 16 bit, so k and v read an input that nobody may divide; without up, down cannot
  // either.
  const BlockTransform transform = Choose(block, statistics, {LinearRole::kQ, LinearRole::kUp});
  EXPECT_THAT(transform.norms, IsEmpty());
  EXPECT_THAT(warnings_, SizeIs(3));
  EXPECT_THAT(warnings_.front(), HasSubstr("not all quantized by the same method"));
  EXPECT_THAT(warnings_.back(), HasSubstr("what makes its input is not quantized"));
  for (size_t i = 0; i < block.linears.size(); ++i) {
    const bool is_o = block.linears[i].role == LinearRole::kO;
    EXPECT_EQ(!transform.linears[i].columns.empty(), is_o) << block.linears[i].name;
  }
}

std::vector<std::string> Variants() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(SourcePath("tests/golden/models"))) {
    names.push_back(entry.path().filename());
  }
  std::sort(names.begin(), names.end());
  return names;
}

std::string TestName(const testing::TestParamInfo<std::string>& info) {
  std::string name = info.param;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

INSTANTIATE_TEST_SUITE_P(Families, TransformTest, testing::ValuesIn(Variants()), TestName);
INSTANTIATE_TEST_SUITE_P(Families, SevenLinearsTransformTest,
                         testing::Values("llama", "llama-biases", "mistral-window",
                                         "qwen2-tied-window", "qwen3", "gemma2", "gemma3_text"),
                         TestName);

}  // namespace
}  // namespace quantd
