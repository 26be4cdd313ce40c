// Scales of an FP8 cache, and attention with it, against compressed-tensors
// (tests/golden/make_kv_cache_golden.py).
#include "engine/block/cache_scales.h"

#include <cmath>
#include <optional>
#include <string>
#include <vector>

#include "base/files.h"
#include "base/json.h"
#include "engine/format/registry.h"
#include "engine/model/forward.h"
#include "engine/model/registry.h"
#include "gtest/gtest.h"
#include "tests/engine/open_model.h"
#include "tests/paths.h"

namespace quantd {
namespace {

const std::string kGolden = SourcePath("tests/golden/");

Json ReadGolden() {
  const std::string path = kGolden + "kv_cache.json";
  return *ParseJson(*ReadFile(path, 1 << 24), path);
}

class CacheObserver : public InputObserver {
 public:
  void OnInput(int /*input*/, const float* /*x*/, int64_t /*tokens*/, int64_t /*k*/) override {}
  void OnCache(const float* keys, const float* values, int64_t tokens, int64_t channels) override {
    range.Add(keys, values, tokens, channels);
  }
  CacheRange range;
};

// A model with its cache as computed, or rounded by scales that are given.
class CachedModel {
 public:
  explicit CachedModel(const std::string& name)
      : checkpoint_(*OpenCheckpoint(kGolden + "models/" + name)),
        spec_(*ReadModelSpec(**OpenModelFolder(kGolden + "models/" + name), checkpoint_)) {
    spec_.dtype = DType::kF32;  // the library ran it so
  }

  // The logits, [T, V]; `reports` gets the scales of each block from the keys and values seen.
  std::vector<float> Logits(const std::vector<int32_t>& ids, const std::vector<CacheScales>& scales,
                            std::vector<CacheReport>* reports) const {
    Backend& backend = **FindBackend("cpu");
    const auto tokens = static_cast<int64_t>(ids.size());
    std::vector<float> x(static_cast<size_t>(tokens * spec_.hidden));
    EXPECT_TRUE(Embedding::Load(spec_, checkpoint_)->Embed(ids, x.data()).ok());
    const RopeTables ropes = RopeTables::Make(spec_, tokens);
    for (size_t i = 0; i < spec_.blocks.size(); ++i) {
      const BlockSpec& block = spec_.blocks[i];
      BlockWeights weights = *LoadBlock(spec_, block, SourcesOf(checkpoint_, block), checkpoint_,
                                        backend, ComputeType::kF32);
      if (!scales.empty()) weights.cache = scales[i];
      CacheObserver observer;
      EXPECT_TRUE(ForwardBlock(spec_, block, weights, ropes, backend, ComputeType::kF32, tokens,
                               x.data(), &observer)
                      .ok());
      Block of = {.spec = block, .linears = {}, .sources = {}, .transform = {}};
      of.transform.linears.resize(block.linears.size());
      if (reports != nullptr) reports->push_back(CacheScalesOf(spec_, of, observer.range));
    }
    std::vector<float> logits(ids.size() * static_cast<size_t>(spec_.vocabulary));
    const Head head = *Head::Load(spec_, checkpoint_, backend, ComputeType::kF32);
    EXPECT_TRUE(head.Logits(x.data(), tokens, logits.data()).ok());
    return logits;
  }
  const ModelSpec& spec() const { return spec_; }

 private:
  Checkpoint checkpoint_;
  ModelSpec spec_;
};

double Distance(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += (a[i] - b[i]) * (a[i] - b[i]);
  return std::sqrt(sum / static_cast<double>(a.size()));
}

std::vector<double> Flat(const Json& rows) {
  std::vector<double> flat;
  for (const Json& row : rows) {
    for (const Json& value : row) flat.push_back(value.get<double>());
  }
  return flat;
}

std::vector<double> Last(const std::vector<float>& logits, size_t count) {
  return {logits.end() - static_cast<std::ptrdiff_t>(count), logits.end()};
}

TEST(CacheScalesTest, ScalesAreThoseOfCompressedTensors) {
  const Json golden = ReadGolden();
  for (const Json& one : golden.at("cases")) {
    SCOPED_TRACE(one.at("model").get<std::string>());
    const CachedModel model(one.at("model"));
    std::vector<CacheReport> reports;
    model.Logits(one.at("ids"), {}, &reports);
    ASSERT_EQ(reports.size(), one.at("blocks").size());
    for (size_t i = 0; i < reports.size(); ++i) {
      const Json& block = one.at("blocks")[i];
      EXPECT_EQ(reports[i].name, block.at("module").get<std::string>());
      EXPECT_NEAR(reports[i].scales.key / block.at("k").get<float>(), 1, 1e-5);
      EXPECT_NEAR(reports[i].scales.value / block.at("v").get<float>(), 1, 1e-5);
      EXPECT_GE(reports[i].key_spread, 1);
      EXPECT_GE(reports[i].value_spread, 1);
    }
  }
}

// A key within float rounding of a tie goes one way here and the other way there.
TEST(CacheScalesTest, AttentionIsThatOfCompressedTensors) {
  const Json golden = ReadGolden();
  for (const Json& one : golden.at("cases")) {
    SCOPED_TRACE(one.at("model").get<std::string>());
    const CachedModel model(one.at("model"));
    std::vector<CacheScales> scales;
    for (const Json& block : one.at("blocks")) {
      scales.push_back({.key = block.at("k"), .value = block.at("v")});
    }
    const std::vector<double> plain = Flat(one.at("plain")), cached = Flat(one.at("cached"));
    const std::vector<double> ours =
        Last(model.Logits(one.at("ids"), scales, nullptr), cached.size());
    EXPECT_LE(Distance(ours, cached), 0.05 * Distance(plain, cached));
  }
}

TEST(CacheScalesTest, SchemeIsThatOfCompressedTensors) {
  const Format* format = FindFormat("compressed-tensors");
  ASSERT_NE(format->cache_scheme, nullptr);
  EXPECT_EQ(DumpJson(format->cache_scheme()), DumpJson(ReadGolden().at("kv_cache_scheme")));
}

TEST(CacheScalesTest, ValuesFollowTheScalesOfTheirRows) {
  const CachedModel model("phi3");
  const ModelSpec& spec = model.spec();
  const BlockSpec& block = spec.blocks[0];
  const int64_t width = spec.kv_heads * spec.head_dim;
  CacheRange range;
  const std::vector<float> ones(static_cast<size_t>(width), 1.0F);
  range.Add(ones.data(), ones.data(), 1, width);
  Block of = {.spec = block, .linears = {}, .sources = {}, .transform = {}};
  of.transform.linears.resize(block.linears.size());
  // q, k and v are one linear: the rows of v come last.
  std::vector<float>& rows = of.transform.linears[0].rows;
  rows.assign(static_cast<size_t>(block.linears[0].out_features), 1.0F);
  rows.back() = 4;
  const CacheReport report = CacheScalesOf(spec, of, range);
  EXPECT_EQ(report.scales.key, 1.0F / 448);
  EXPECT_EQ(report.scales.value, 4.0F / 448);
  EXPECT_EQ(report.key_spread, 1);
  EXPECT_EQ(report.value_spread, 4);
}

TEST(CacheScalesTest, AScaleIsANumberOfTheModelsTypeAndNeverZero) {
  const CachedModel model("llama");
  ModelSpec spec = model.spec();
  const BlockSpec& block = spec.blocks[0];
  const int64_t width = spec.kv_heads * spec.head_dim;
  Block of = {.spec = block, .linears = {}, .sources = {}, .transform = {}};
  of.transform.linears.resize(block.linears.size());
  CacheRange range;
  const std::vector<float> keys(static_cast<size_t>(width), 3.0F);
  const std::vector<float> values(static_cast<size_t>(width), 0.0F);
  range.Add(keys.data(), values.data(), 1, width);
  spec.dtype = DType::kBF16;
  const CacheScales scales = CacheScalesOf(spec, of, range).scales;
  EXPECT_EQ(scales.key, 0.006683349609375F);  // 3 / 448 with 8 bits of mantissa
  EXPECT_EQ(scales.value, 0.0078125F);        // torch.finfo(torch.bfloat16).eps
}

}  // namespace
}  // namespace quantd
