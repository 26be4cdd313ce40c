// An FP8 cache of keys and values end to end.
#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "base/digest.h"
#include "base/error.h"
#include "base/files.h"
#include "engine/block/activations.h"
#include "engine/model/forward.h"
#include "engine/run/quantize.h"
#include "engine/tensor/checkpoint.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/engine/open_model.h"
#include "tests/engine/silent_sink.h"
#include "tests/paths.h"

namespace quantd {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;

const std::string kModel = SourcePath("models/books-3m");
const std::string kTiny = SourcePath("tests/golden/models/");

class KvCacheTest : public ::testing::Test {
 protected:
  QuantizeRequest Request(const std::string& recipe, const std::string& out = "out") const {
    QuantizeRequest request;
    request.model_folder = kModel;
    request.output_folder = folder_.path() + "/" + out;
    request.recipe = *ParseRecipe(recipe);
    request.evaluation.windows = 4;
    request.evaluation.tokens_per_window = 128;
    request.calibration.samples = 4;
    request.calibration.tokens_per_sample = 128;
    return request;
  }
  static absl::StatusOr<Report> Run(const QuantizeRequest& request) {
    auto planned = MakePlan(request);
    if (!planned.ok()) return planned.status();
    SilentSink nobody;
    return Quantize(**planned, nobody);
  }
  static std::string Digest(const QuantizeRequest& request) {
    return Sha256Hex(*ReadFile(request.output_folder + "/model.safetensors", int64_t{1} << 30));
  }

  TemporaryFolder folder_ = *TemporaryFolder::Create("kv-cache-test");
};

TEST_F(KvCacheTest, ScalesStandBesideTheAttentionAndInTheReport) {
  const QuantizeRequest request = Request("{default: {method: rtn}, kv_cache: fp8}");
  const auto report = Run(request);
  ASSERT_TRUE(report.ok()) << report.status();
  ASSERT_EQ(report->cache.size(), 4u);
  EXPECT_EQ(report->calibration_tokens, 4 * 128);
  EXPECT_FALSE(report->calibration_digest.empty());
  const auto artifact = OpenCheckpoint(request.output_folder);
  ASSERT_TRUE(artifact.ok()) << artifact.status();
  for (int block = 0; block < 4; ++block) {
    const CacheReport& entry = report->cache[static_cast<size_t>(block)];
    EXPECT_EQ(entry.name, "model.layers." + std::to_string(block) + ".self_attn");
    const auto key = artifact->ReadF32(entry.name + ".k_scale");
    const auto value = artifact->ReadF32(entry.name + ".v_scale");
    ASSERT_TRUE(key.ok() && value.ok()) << key.status() << value.status();
    EXPECT_EQ(artifact->Find(entry.name + ".k_scale")->dtype, DType::kBF16);
    EXPECT_EQ(artifact->Find(entry.name + ".k_scale")->shape, std::vector<int64_t>{1});
    EXPECT_EQ(key->data()[0], entry.scales.key);
    EXPECT_EQ(value->data()[0], entry.scales.value);
    EXPECT_GT(entry.key_spread, 1);
  }
  const std::string config = *ReadFile(request.output_folder + "/config.json", 1 << 20);
  const Json scheme = ParseJson(config, "config")->at("quantization_config").at("kv_cache_scheme");
  EXPECT_EQ(scheme.at("type"), "float");
  EXPECT_EQ(scheme.at("num_bits"), 8);
  const auto on_disk = ReportFromJson(
      *ParseJson(*ReadFile(request.output_folder + "/quantd/report.json", 1 << 24), "report"));
  ASSERT_TRUE(on_disk.ok()) << on_disk.status();
  EXPECT_EQ(on_disk->cache, report->cache);
  EXPECT_EQ(on_disk->recipe, request.recipe);
  EXPECT_THAT(*ReadFile(request.output_folder + "/quantd/report.html", 1 << 24),
              HasSubstr("model.layers.3.self_attn</td>"));
}

class RangeObserver : public InputObserver {
 public:
  void OnInput(int /*input*/, const float* /*x*/, int64_t /*tokens*/, int64_t /*k*/) override {}
  void OnCache(const float* keys, const float* values, int64_t tokens, int64_t width) override {
    for (int64_t i = 0; i < tokens * width; ++i) {
      key = std::max(key, std::abs(keys[i]));
      value = std::max(value, std::abs(values[i]));
    }
  }
  float key = 0, value = 0;
};

// One window after the other, without the engine's streams.
TEST_F(KvCacheTest, ScalesAreOfTheLargestKeyAndValueOfAllWindows) {
  const QuantizeRequest request = Request("{default: {method: rtn}, kv_cache: fp8}");
  const auto planned = MakePlan(request);
  ASSERT_TRUE(planned.ok()) << planned.status();
  const auto report = Run(request);
  ASSERT_TRUE(report.ok()) << report.status();
  const Plan& plan = (*planned)->plan;
  const Checkpoint& checkpoint = (*planned)->checkpoint;
  Backend& backend = **FindBackend("cpu");
  const auto tokenizer = Tokenizer::Open(*(*planned)->files);
  const auto windows =
      CutWindows(*CalibrationText(**planned), **tokenizer, CalibrationWindows(**planned));
  ASSERT_TRUE(windows.ok()) << windows.status();
  const RopeTables ropes = RopeTables::Make(plan.model, 128);
  std::vector<RangeObserver> observers(plan.model.blocks.size());
  for (const std::vector<int32_t>& ids : windows->ids) {
    std::vector<float> x(static_cast<size_t>(128 * plan.model.hidden));
    ASSERT_TRUE(Embedding::Load(plan.model, checkpoint)->Embed(ids, x.data()).ok());
    for (size_t i = 0; i < observers.size(); ++i) {
      const BlockSpec& block = plan.model.blocks[i];
      const auto weights = LoadBlock(plan.model, block, SourcesOf(checkpoint, block), checkpoint,
                                     backend, ComputeType::kAuto);
      ASSERT_TRUE(ForwardBlock(plan.model, block, *weights, ropes, backend, ComputeType::kAuto, 128,
                               x.data(), &observers[i])
                      .ok());
    }
  }
  for (size_t i = 0; i < observers.size(); ++i) {
    // Rounded to bf16.
    EXPECT_NEAR(report->cache[i].scales.key * 448 / observers[i].key, 1, 1.0 / 256);
    EXPECT_NEAR(report->cache[i].scales.value * 448 / observers[i].value, 1, 1.0 / 256);
  }
}

TEST_F(KvCacheTest, ThePlanSaysThatTheModelRuns) {
  QuantizeRequest request = Request("default: {method: rtn}");
  request.evaluation.enabled = false;
  EXPECT_FALSE((*MakePlan(request))->plan.needs_forward);
  request.recipe.kv_cache = KvCache::kFp8;
  const auto planned = MakePlan(request);
  ASSERT_TRUE(planned.ok()) << planned.status();
  EXPECT_TRUE((*planned)->plan.needs_forward);
  EXPECT_THAT((*planned)->plan.warnings, Contains(HasSubstr("kv_cache")));
  request.recipe = *ParseRecipe("{default: {method: awq}, kv_cache: fp8}");
  EXPECT_TRUE((*MakePlan(request))->plan.warnings.empty());
}

TEST_F(KvCacheTest, EvaluationRoundsKeysAndValues) {
  const auto plain = Run(Request("default: {method: rtn, bits: 8, granularity: channel}"));
  const auto cached =
      Run(Request("{default: {method: rtn, bits: 8, granularity: channel}, kv_cache: fp8}"));
  ASSERT_TRUE(plain.ok() && cached.ok()) << plain.status() << cached.status();
  EXPECT_GT(cached->evaluation->kl_mean, 1.5 * plain->evaluation->kl_mean);
  EXPECT_LT(cached->evaluation->kl_mean, 0.01);
  EXPECT_DOUBLE_EQ(cached->evaluation->perplexity_original, plain->evaluation->perplexity_original);
}

TEST_F(KvCacheTest, OtherTensorsAreTheSameBytes) {
  const QuantizeRequest plain = Request("default: {method: gptq}", "plain");
  const QuantizeRequest cached = Request("{default: {method: gptq}, kv_cache: fp8}", "cached");
  ASSERT_TRUE(Run(plain).ok() && Run(cached).ok());
  const auto one = OpenCheckpoint(plain.output_folder),
             other = OpenCheckpoint(cached.output_folder);
  ASSERT_TRUE(one.ok() && other.ok());
  EXPECT_EQ(other->Tensors().size(), one->Tensors().size() + 8);
  for (const TensorInfo* info : one->Tensors()) {
    const auto a = one->Read(info->name), b = other->Read(info->name);
    ASSERT_TRUE(a.ok() && b.ok()) << info->name;
    EXPECT_TRUE(std::ranges::equal(a->bytes.span(), b->bytes.span())) << info->name;
  }
}

TEST_F(KvCacheTest, SameBytesForAnyNumberOfThreads) {
  for (const std::string propagate : {"original", "quantized"}) {
    const std::string recipe =
        "{default: {method: awq}, kv_cache: fp8, propagate: " + propagate + "}";
    QuantizeRequest one = Request(recipe, "one"), two = Request(recipe, "two");
    one.resources.threads = 1;
    two.resources.threads = 2;
    const auto first = Run(one), second = Run(two);
    ASSERT_TRUE(first.ok() && second.ok()) << first.status() << second.status();
    EXPECT_EQ(Digest(one), Digest(two));
    EXPECT_EQ(first->cache, second->cache);
    EXPECT_EQ(first->evaluation->kl_mean, second->evaluation->kl_mean);
  }
}

TEST_F(KvCacheTest, SavedStatisticsChangeNothing) {
  const std::string recipe = "{default: {method: awq}, kv_cache: fp8}";
  QuantizeRequest saving = Request(recipe, "saving"), reading = Request(recipe, "reading");
  saving.calibration.save_statistics_folder = folder_.path() + "/statistics";
  reading.calibration.statistics_folder = folder_.path() + "/statistics";
  const auto first = Run(saving), second = Run(reading);
  ASSERT_TRUE(first.ok() && second.ok()) << first.status() << second.status();
  EXPECT_EQ(Digest(saving), Digest(reading));
  EXPECT_EQ(first->cache, second->cache);
}

TEST_F(KvCacheTest, WhereNobodyReadsTheScalesItIsRefused) {
  QuantizeRequest request = Request("{default: {method: rtn}, kv_cache: fp8}");
  request.output.format = "dequantized";
  const absl::Status format = MakePlan(request).status();
  EXPECT_EQ(ReasonOf(format), Reason::kFormatCannotHold) << format;
  EXPECT_THAT(std::string(format.message()), HasSubstr("compressed-tensors"));
  request.output.format = "compressed-tensors";
  request.recipe.default_scheme.group_size = 8;
  request.evaluation.enabled = false;
  request.model_folder = kTiny + "gpt_neox";
  const absl::Status family = MakePlan(request).status();
  EXPECT_EQ(ReasonOf(family), Reason::kFormatCannotHold) << family;
  EXPECT_THAT(std::string(family.message()), HasSubstr("gpt_neox"));
  EXPECT_FALSE(ParseRecipe("kv_cache: int4").ok());
}

}  // namespace
}  // namespace quantd
