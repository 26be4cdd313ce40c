// Methods on the block types of GGUF: gptq against a plain f64 reading of the paper's recursion and
// against the search alone, awq where an input is loud, and which types the linears of a model get.

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>
#include <vector>

#include "engine/gguf/block_layout.h"
#include "engine/gguf/block_types.h"
#include "engine/method/block_scheme.h"
#include "engine/method/registry.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/engine/method/awq_request.h"
#include "tests/engine/method/calibrated_linear.h"
#include "tests/engine/method/method_context.h"
#include "tests/engine/method/textbook_hessian.h"

namespace quantd {
namespace {

Scheme BlockScheme(std::string_view method, const LinearSpec& linear, const std::string& type,
                   Options options = {}) {
  SchemeRequest request;
  request.number_format = type;
  request.options = std::move(options);
  if (method == "rtn") request.scale_rule = ScaleRule::kWeightedMse;
  const auto scheme = FindMethod(method)->resolve(request, linear, DType::kBF16);
  EXPECT_TRUE(scheme.ok()) << scheme.status();
  return *scheme;
}

QuantizedRows Quantized(const CalibratedLinear& linear, const Scheme& scheme,
                        const MethodContext& context = TestContext()) {
  return Quantized(*FindMethod(scheme.method), linear, scheme, context);
}

class EveryBlockType : public ::testing::TestWithParam<std::string> {};

// What the block at hand says of one channel: w ~ scale q - min.
struct ChannelGrid {
  double scale = 0, min = 0;
  int q = 0;
};

std::vector<ChannelGrid> GridOfRow(const QuantizedRows& rows, int64_t row) {
  std::vector<ChannelGrid> grid;
  const BlockLayout& layout = *rows.block->layout;
  BlockParts parts;
  for (int64_t block = 0; block < rows.columns / layout.weights; ++block) {
    layout.unpack(
        rows.blocks.data() + row * rows.block->RowBytes(rows.columns) + block * rows.block->bytes,
        parts);
    for (int i = 0; i < layout.weights; ++i) {
      const auto sub = static_cast<size_t>(i / layout.size());
      grid.push_back({static_cast<double>(parts.d * static_cast<float>(parts.scale[sub])),
                      static_cast<double>(parts.dmin * static_cast<float>(parts.min[sub])),
                      parts.q[static_cast<size_t>(i)]});
    }
  }
  return grid;
}

// With the parts that were chosen, the codes of one row by the recursion of the paper.
std::vector<int> TextbookCodes(const float* row, const std::vector<ChannelGrid>& grid,
                               const Matrix& upper, const BlockLayout& layout) {
  std::vector<double> weights(row, row + grid.size());
  std::vector<int> codes;
  for (size_t i = 0; i < grid.size(); ++i) {
    const auto& [scale, min, unused] = grid[i];
    const double place = scale == 0 ? 0 : std::nearbyint((weights[i] + min) / scale);
    codes.push_back(static_cast<int>(std::clamp<double>(place, layout.low, layout.high)));
    const double error = (weights[i] - (scale * codes.back() - min)) / upper[i][i];
    for (size_t j = i; j < grid.size(); ++j) weights[j] -= error * upper[i][j];
  }
  return codes;
}

// In f32 a weight may fall between two codes either way, and what follows it a little off.
TEST_P(EveryBlockType, GptqGivesTheCodesOfTheRecursion) {
  const CalibratedLinear linear(8, 512, 1500);
  Options options = With("act_order", std::string("none"));
  options.Set("refit", int64_t{0});
  const Scheme scheme = BlockScheme("gptq", linear.spec, GetParam(), options);
  const QuantizedRows got = Quantized(linear, scheme);
  std::vector<size_t> turns(512);
  std::iota(turns.begin(), turns.end(), 0u);
  const Matrix upper = UpperFactorOfInverse(TextbookHessian(linear, turns, 0.01));
  size_t equal = 0;
  for (int64_t n = 0; n < got.rows; ++n) {
    const std::vector<ChannelGrid> grid = GridOfRow(got, n);
    const std::vector<int> codes =
        TextbookCodes(linear.weights.data() + n * got.columns, grid, upper, *scheme.block->layout);
    for (size_t k = 0; k < codes.size(); ++k) equal += codes[k] == grid[k].q ? 1 : 0;
  }
  EXPECT_GE(static_cast<double>(equal), 0.98 * static_cast<double>(8 * 512));
}

TEST_P(EveryBlockType, GptqLosesLessThanTheSearchAlone) {
  const CalibratedLinear linear(16, 512, 1500);
  const double searched =
      linear.OutputError(Quantized(linear, BlockScheme("rtn", linear.spec, GetParam())));
  const double carried =
      linear.OutputError(Quantized(linear, BlockScheme("gptq", linear.spec, GetParam())));
  EXPECT_LT(carried, 0.8 * searched);
}

TEST_P(EveryBlockType, EverySweepLowersTheError) {
  const CalibratedLinear linear(16, 512, 1500);
  double before = INFINITY;
  for (const int64_t sweeps : {0, 1, 2, 4}) {
    const double error = linear.OutputError(
        Quantized(linear, BlockScheme("gptq", linear.spec, GetParam(), With("refit", sweeps))));
    // What is lowered is the damped error: the last sweeps may change this one a little.
    EXPECT_LT(error, before * 1.001) << sweeps << " sweeps";
    before = std::min(before, error);
  }
}

TEST_P(EveryBlockType, TheSameBytesForAnyNumberOfThreadsAndPanels) {
  const CalibratedLinear linear(6, 512, 900);
  const Scheme scheme = BlockScheme("gptq", linear.spec, GetParam(), With("refit", int64_t{1}));
  std::vector<QuantizedRows> results;
  for (const int threads : {1, 2}) {
    ThreadPool pool(threads);
    results.push_back(Quantized(linear, scheme, {pool, **FindBackend("cpu"), CpuKernels()}));
  }
  EXPECT_EQ(results[0].blocks, results[1].blocks);
}

TEST_P(EveryBlockType, RtnIsTheSearchOfMethodGguf) {
  const CalibratedLinear linear(6, 512, 300);
  const Scheme scheme = BlockScheme("rtn", linear.spec, GetParam());
  Scheme gguf = scheme;
  gguf.method = "gguf";
  EXPECT_EQ(Quantized(linear, scheme).blocks, Quantized(linear, gguf).blocks);
}

INSTANTIATE_TEST_SUITE_P(Types, EveryBlockType,
                         ::testing::Values("Q8_0", "Q6_K", "Q5_K", "Q5_1", "Q5_0", "Q4_K", "Q4_1",
                                           "Q4_0", "Q3_K", "Q2_K"),
                         [](const auto& info) { return info.param; });

TEST(GptqBlocks, TakeEveryOrderThatLeavesChannelsWhereTheyAre) {
  const CalibratedLinear linear(8, 512, 900);
  const double searched =
      linear.OutputError(Quantized(linear, BlockScheme("rtn", linear.spec, "Q3_K")));
  for (const std::string order : {"none", "static", "group-aware"}) {
    const Scheme scheme = BlockScheme("gptq", linear.spec, "Q3_K", With("act_order", order));
    EXPECT_LT(linear.OutputError(Quantized(linear, scheme)), 0.8 * searched) << order;
  }
}

// A sub-block of one value has the scale 0, and codes that mean nothing.
TEST(GptqBlocks, RowsOfZerosStayZero) {
  CalibratedLinear linear(2, 256, 600);
  std::fill(linear.weights.begin(), linear.weights.begin() + 256, 0.0f);
  for (const std::string type : {"Q4_K", "Q4_0", "Q4_1", "Q6_K"}) {
    const QuantizedRows rows =
        Quantized(linear, BlockScheme("gptq", linear.spec, type, With("refit", int64_t{2})));
    std::vector<float> row(256);
    rows.Dequantize(0, row.data());
    for (const float value : row) EXPECT_EQ(value, 0.0f) << type;
  }
}

// Of four channels the inputs are thirty times as large: their weights must lose less.
TEST(AwqBlocks, ScalesChannelsThatAreLoud) {
  constexpr int64_t kRows = 64, kColumns = 256, kTokens = 64;
  AwqLinear linear(kRows, kColumns);
  std::mt19937 random(3);
  std::normal_distribution<float> normal;
  linear.weights.resize(static_cast<size_t>(kRows * kColumns));
  for (float& weight : linear.weights) weight = 0.05f * normal(random);
  std::vector<float> x(static_cast<size_t>(kTokens * kColumns));
  for (size_t i = 0; i < x.size(); ++i) x[i] = normal(random) * (i % 64 == 5 ? 30.0f : 1.0f);
  linear.AddInputs(x);
  for (const std::string type : {"Q4_0", "Q4_K", "Q3_K"}) {
    const Scheme scheme = BlockScheme("awq", linear.spec, type);
    const auto choice = FindMethod("awq")->transform(linear.Request(scheme), TestContext());
    ASSERT_TRUE(choice.ok()) << choice.status();
    ASSERT_EQ(choice->scales.size(), static_cast<size_t>(kColumns)) << type;
    EXPECT_GT(choice->scales[5], 1.2f * choice->scales[6]) << type;
    EXPECT_LT(choice->figures.back().second, 0.9) << type;
  }
}

ModelSpec TiedModel() {
  ModelSpec model;
  model.family = "llama";
  model.heads = model.kv_heads = 4;
  model.tied_embeddings = true;
  model.blocks.resize(8);
  return model;
}

TEST(BlockSchemes, TypesGoByRoleAndDepth) {
  LinearSpec linear;
  linear.in_features = 512;
  linear.role = LinearRole::kV;
  linear.block = 0;
  Scheme scheme = BlockScheme("gptq", linear, "Q4_K_M");
  ASSERT_TRUE(SettleBlocks(TiedModel(), linear, scheme).ok());
  EXPECT_EQ(scheme.block->name, "Q6_K");
  EXPECT_EQ(scheme.bits, 6);
  EXPECT_TRUE(scheme.symmetric);
  EXPECT_EQ(scheme.method, "gptq");
  linear.role = LinearRole::kGate;
  ASSERT_TRUE(SettleBlocks(TiedModel(), linear, scheme).ok());
  EXPECT_EQ(scheme.block->name, "Q4_K");
  EXPECT_FALSE(scheme.symmetric);
  linear.in_features = 160;
  ASSERT_TRUE(SettleBlocks(TiedModel(), linear, scheme).ok());
  EXPECT_EQ(scheme.block->name, "Q5_0");
  EXPECT_EQ(scheme.group_size, 32);
}

// Nothing is known of their inputs, or nothing is lost.
TEST(BlockSchemes, EmbeddingAndOddRowsAreOnlyRounded) {
  LinearSpec linear;
  linear.in_features = 512;
  linear.role = LinearRole::kEmbedding;
  Scheme scheme = BlockScheme("awq+gptq", linear, "Q4_K_M");
  ASSERT_TRUE(SettleBlocks(TiedModel(), linear, scheme).ok());
  EXPECT_EQ(scheme.block->name, "Q6_K");
  EXPECT_EQ(scheme.method, "rtn");
  EXPECT_FALSE(FindMethod("rtn")->needs(scheme).any());
  linear.role = LinearRole::kGate;
  linear.in_features = 100;
  scheme = BlockScheme("gptq", linear, "Q4_K");
  ASSERT_TRUE(SettleBlocks(TiedModel(), linear, scheme).ok());
  EXPECT_EQ(scheme.block->name, "F16");
  EXPECT_EQ(scheme.method, "rtn");
  EXPECT_FALSE(FindMethod("rtn")->needs(scheme).any());
}

}  // namespace
}  // namespace quantd
