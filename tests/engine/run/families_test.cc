// A tiny model of every family through the engine: what comes out is the same model, nearly.
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/files.h"
#include "base/json.h"
#include "engine/block/expert_statistics.h"
#include "engine/run/quantize.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/engine/model/whole_model.h"
#include "tests/engine/open_model.h"
#include "tests/engine/silent_sink.h"
#include "tests/paths.h"

namespace quantd {
namespace {

using ::testing::HasSubstr;
using ::testing::SizeIs;

namespace fs = std::filesystem;

const std::string kModels = SourcePath("tests/golden/models");

QuantizeRequest Request(const std::string& model, const std::string& out) {
  QuantizeRequest request;
  request.model_folder = model;
  request.output_folder = out;
  request.recipe = *ParseRecipe("default: {method: rtn, bits: 8, granularity: channel}");
  request.output.format = "dequantized";
  request.evaluation.enabled = false;
  return request;
}

absl::Status RunEngine(const QuantizeRequest& request, const RunOptions& options = {}) {
  auto planned = MakePlan(request);
  if (!planned.ok()) return planned.status();
  SilentSink sink;
  return Quantize(**planned, sink, options).status();
}

std::vector<std::string> Variants() {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(kModels)) {
    names.push_back(entry.path().filename());
  }
  std::sort(names.begin(), names.end());
  return names;
}

class FamiliesTest : public ::testing::TestWithParam<std::string> {
 protected:
  std::string model() const { return kModels + "/" + GetParam(); }
  TemporaryFolder folder_ = *TemporaryFolder::Create("families");
};

TEST_P(FamiliesTest, EightBitsChangeLittle) {
  const std::string out = folder_.path() + "/out";
  const absl::Status status = RunEngine(Request(model(), out));
  ASSERT_TRUE(status.ok()) << status;
  const auto before = WholeModel::Open(model()), after = WholeModel::Open(out);
  ASSERT_TRUE(before.ok()) << before.status();
  ASSERT_TRUE(after.ok()) << after.status();
  const std::vector<int32_t> ids = {1, 5, 9, 2, 40, 7, 60, 3, 3, 11, 12, 80, 0, 6};
  const auto wanted = (*before)->Logits(ids, ComputeType::kF32);
  const auto got = (*after)->Logits(ids, ComputeType::kF32);
  ASSERT_TRUE(wanted.ok() && got.ok()) << got.status();
  double error = 0, energy = 0;
  for (size_t i = 0; i < wanted->size(); ++i) {
    const auto value = static_cast<double>((*wanted)[i]);
    const double apart = static_cast<double>((*got)[i]) - value;
    error += apart * apart;
    energy += value * value;
  }
  EXPECT_GT(error, 0);
  // A router of scores one by one may choose another expert for a token: seen here, of four.
  const bool scores_apart = GetParam() == "deepseek_v3";
  EXPECT_LT(std::sqrt(error / energy), scores_apart ? 0.1 : 0.05);
}

// Every tensor is in the artifact under its name and in its shape; what is not quantized has its
// bytes. A journal is sealed only when all that a block has is in it.
TEST_P(FamiliesTest, EveryTensorIsThere) {
  const std::string out = folder_.path() + "/out";
  const absl::Status status =
      RunEngine(Request(model(), out),
                {.journaling = Journaling::kNew, .journal_folders = {folder_.path() + "/journal"}});
  ASSERT_TRUE(status.ok()) << status;
  const auto before = OpenCheckpoint(model()), after = OpenCheckpoint(out);
  ASSERT_TRUE(before.ok() && after.ok());
  const auto spec = ReadModelSpec(**OpenModelFolder(model()), *before);
  ASSERT_TRUE(spec.ok()) << spec.status();
  std::set<std::string> quantized;
  for (const LinearSpec* linear : spec->Linears()) {
    const bool stays = IsRouting(linear->role) || linear->role == LinearRole::kHead;
    if (!stays) quantized.insert(linear->name + ".weight");
  }
  for (const TensorInfo* info : before->Tensors()) {
    const TensorInfo* found = after->Find(info->name);
    ASSERT_NE(found, nullptr) << info->name;
    EXPECT_EQ(found->shape, info->shape) << info->name;
    if (quantized.contains(info->name)) continue;
    const Tensor was = *before->Read(info->name), is = *after->Read(info->name);
    EXPECT_TRUE(std::ranges::equal(was.bytes.span(), is.bytes.span())) << info->name;
  }
}

INSTANTIATE_TEST_SUITE_P(Variants, FamiliesTest, testing::ValuesIn(Variants()),
                         [](const auto& info) {
                           std::string name = info.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

class UnknownFamilyTest : public ::testing::Test {
 protected:
  void SetUp() override {
    fs::copy(kModels + "/llama", model());
    fs::permissions(model() + "/config.json", fs::perms::owner_write, fs::perm_options::add);
    Json config = *ParseJson(*ReadFile(model() + "/config.json", 1 << 20), "config.json");
    config["model_type"] = "novel";
    ASSERT_TRUE(WriteFileAtomic(model() + "/config.json", DumpJson(config)).ok());
  }
  std::string model() const { return folder_.path() + "/model"; }
  TemporaryFolder folder_ = *TemporaryFolder::Create("unknown");
};

TEST_F(UnknownFamilyTest, MethodsWithoutCalibrationWork) {
  const std::string out = folder_.path() + "/out";
  const absl::Status status = RunEngine(Request(model(), out));
  ASSERT_TRUE(status.ok()) << status;
  const auto before = OpenCheckpoint(model()), after = OpenCheckpoint(out);
  ASSERT_TRUE(before.ok() && after.ok());
  for (const char* same : {"lm_head.weight", "model.embed_tokens.weight", "model.norm.weight"}) {
    const Tensor was = *before->Read(same), is = *after->Read(same);
    EXPECT_TRUE(std::ranges::equal(was.bytes.span(), is.bytes.span())) << same;
  }
  const char* const kChanged = "model.layers.1.mlp.up_proj.weight";
  const Tensor was = *before->Read(kChanged), is = *after->Read(kChanged);
  EXPECT_FALSE(std::ranges::equal(was.bytes.span(), is.bytes.span()));
}

// Loaders would take a 2-D weight that is not named for a quantized one.
TEST_F(UnknownFamilyTest, WhatStaysDenseIsNamedToLoaders) {
  for (const char* format : {"compressed-tensors", "gptq"}) {
    const std::string out = folder_.path() + "/" + format;
    QuantizeRequest request = Request(model(), out);
    request.output.format = format;
    const absl::Status status = RunEngine(request);
    ASSERT_TRUE(status.ok()) << status;
    const Json config = *ParseJson(*ReadFile(out + "/config.json", 1 << 20), "config.json");
    EXPECT_THAT(DumpJson(config.at("quantization_config")), HasSubstr("embed_tokens")) << format;
  }
}

TEST_F(UnknownFamilyTest, WhatRunsTheModelIsRefusedWithTheFamilies) {
  QuantizeRequest evaluated = Request(model(), folder_.path() + "/out");
  evaluated.evaluation.enabled = true;
  QuantizeRequest calibrated = Request(model(), folder_.path() + "/out");
  calibrated.recipe = *ParseRecipe("default: {method: gptq, granularity: channel}");
  for (const QuantizeRequest& request : {evaluated, calibrated}) {
    const absl::Status status = MakePlan(request).status();
    EXPECT_EQ(ReasonOf(status), Reason::kModelUnsupported) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("gpt_neox"));
  }
}

TEST(RouterTest, StaysInSixteenBits) {
  const std::string model = kModels + "/mixtral";
  QuantizeRequest request = Request(model, "unused");
  const auto planned = MakePlan(request);
  ASSERT_TRUE(planned.ok()) << planned.status();
  for (const ResolvedLinear& entry : (*planned)->plan.linears) {
    const bool stays =
        entry.linear->role == LinearRole::kRouter || entry.linear->role == LinearRole::kHead;
    EXPECT_EQ(entry.scheme.has_value(), !stays) << entry.linear->name;
  }
}

TEST(ExpertStatisticsTest, ExpertsThatFewTokensReachTakeThoseOfAll) {
  const std::string folder = kModels + "/mixtral";
  const auto planned = MakePlan(Request(folder, "unused"));
  ASSERT_TRUE(planned.ok()) << planned.status();
  const BlockSpec& block = (*planned)->plan.model.blocks[0];
  const std::span linears = std::span((*planned)->plan.linears).first(block.linears.size());
  std::vector<InputStatistics> statistics;
  for (const LinearSpec& linear : block.linears) {
    const auto input = static_cast<size_t>(linear.input);
    if (statistics.size() <= input) statistics.resize(input + 1);
    InputStatistics one(linear.in_features);
    one.tokens = linear.expert == 2 ? 5 : 500;
    std::fill(one.sum_squares.begin(), one.sum_squares.end(), 3.0 * (linear.expert + 2));
    one.gram = Gram::Make(linear.in_features, linear.in_features, "").value();
    std::ranges::fill(one.gram.values(), 0.5F);
    statistics[input] = std::move(one);
  }
  const auto replaced = ReplaceUnderfed(block, linears, "", statistics);
  ASSERT_TRUE(replaced.ok()) << replaced.status();
  const ExpertTokens& tokens = *replaced;
  ASSERT_THAT(tokens.warnings, SizeIs(1));
  EXPECT_THAT(tokens.warnings[0], HasSubstr("expert 2;"));
  const auto input = static_cast<size_t>(block.Find(LinearRole::kGate, 2)->input);
  EXPECT_EQ(tokens.of_input[input], 5);
  EXPECT_EQ(tokens.of_input[input + 2], 500);
  const auto router = static_cast<size_t>(block.Find(LinearRole::kRouter)->input);
  EXPECT_EQ(statistics[input].tokens, 500);
  EXPECT_EQ(statistics[input].sum_squares, statistics[router].sum_squares);
  // down: channels that are all alike.
  EXPECT_EQ(statistics[input + 1].gram.At(3, 3), 1.0F);
  EXPECT_EQ(statistics[input + 1].gram.At(3, 4), 0.0F);
  EXPECT_EQ(statistics[input + 1].MeanSquares(),
            std::vector<float>(statistics[input + 1].sum_abs.size(), 1.0F));
  EXPECT_EQ(statistics[input + 2].sum_squares.front(), 15.0);
}

}  // namespace
}  // namespace quantd
