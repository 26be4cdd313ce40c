// A model whose residual stream is rotated, embedding and output projection included, has the
// logits that transformers computes of the original.
#include "engine/block/residual_rotation.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "base/files.h"
#include "base/json.h"
#include "engine/model/norm.h"
#include "engine/model/residual_stream.h"
#include "gtest/gtest.h"
#include "tests/engine/model/whole_model.h"
#include "tests/paths.h"

namespace quantd {
namespace {

enum class Kind { kHadamard, kDense };

// Gram-Schmidt on normal numbers.
std::vector<float> RandomOrthogonal(size_t n, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<double> normal;
  std::vector<std::vector<double>> rows(n, std::vector<double>(n));
  std::vector<float> matrix;
  for (size_t i = 0; i < n; ++i) {
    for (double& value : rows[i]) value = normal(random);
    for (size_t j = 0; j <= i; ++j) {
      double product = 0;
      for (size_t k = 0; k < n; ++k) product += rows[i][k] * rows[j][k];
      for (size_t k = 0; k < n; ++k) {
        rows[i][k] = j < i ? rows[i][k] - product * rows[j][k] : rows[i][k] / std::sqrt(product);
      }
    }
    matrix.insert(matrix.end(), rows[i].begin(), rows[i].end());
  }
  return matrix;
}

class RotatedModelTest : public testing::TestWithParam<std::tuple<std::string, Kind>> {
 protected:
  void SetUp() override {
    folder_ = SourcePath("tests/golden/models/") + std::get<0>(GetParam());
    auto model = WholeModel::Open(folder_);
    ASSERT_TRUE(model.ok()) << model.status();
    model_ = *std::move(model);
    ASSERT_TRUE(CheckRotatable(spec()).ok());
    const int64_t width = spec().hidden;
    auto rotation = std::get<1>(GetParam()) == Kind::kHadamard
                        ? Rotation::Hadamard(width, 11)
                        : Rotation::Dense(width, RandomOrthogonal(static_cast<size_t>(width), 4));
    ASSERT_TRUE(rotation.ok()) << rotation.status();
    rotation_ = std::make_shared<const Rotation>(*std::move(rotation));
  }

  const ModelSpec& spec() const { return model_->spec(); }
  const Checkpoint& checkpoint() const { return model_->checkpoint(); }

  absl::StatusOr<BlockWeights> Rotated(const BlockSpec& block) {
    QD_ASSIGN_OR_RETURN(const BlockTransform transform,
                        RotationOfBlock(block, checkpoint(), rotation_));
    std::vector<WeightSource> sources = SourcesOf(checkpoint(), block);
    QD_RETURN_IF_ERROR(HoldTransformed(transform, sources));
    QD_ASSIGN_OR_RETURN(BlockWeights weights, LoadBlock(spec(), block, sources, checkpoint(),
                                                        backend_, ComputeType::kF32));
    QD_ASSIGN_OR_RETURN(weights.norms, LoadNorms(spec(), block, checkpoint(), transform.norms));
    for (size_t i = 0; i < weights.linears.size(); ++i) {
      SharedVector& bias = weights.linears[i].bias;
      if (bias == nullptr || !transform.linears[i].changes_bias()) continue;
      AlignedBuffer<float> values(bias->size());
      std::copy(bias->span().begin(), bias->span().end(), values.data());
      transform.linears[i].ApplyToBias(values.span());
      bias = std::make_shared<const AlignedBuffer<float>>(std::move(values));
    }
    return weights;
  }

  absl::StatusOr<Head> RotatedHead() {
    QD_ASSIGN_OR_RETURN(const BlockTransform transform,
                        RotationOfHead(spec(), checkpoint(), rotation_));
    WeightSource source(checkpoint(), spec().head, spec().head_tensor);
    QD_RETURN_IF_ERROR(HoldTransformed(transform, std::span(&source, 1)));
    QD_ASSIGN_OR_RETURN(auto weight, backend_.Prepare(*source.Held(), ComputeType::kF32));
    QD_ASSIGN_OR_RETURN(const NormWeights norm,
                        LoadNorm(spec(), spec().final_norm, checkpoint(), transform.norms));
    QD_ASSIGN_OR_RETURN(const Head head,
                        Head::Load(spec(), checkpoint(), backend_, ComputeType::kF32));
    return head.WithNorm(norm).WithLinear({.weight = std::move(weight), .bias = nullptr});
  }

  // Stream and logits.
  absl::StatusOr<std::pair<std::vector<float>, std::vector<float>>> Run(
      const std::vector<int32_t>& ids) {
    const auto tokens = static_cast<int64_t>(ids.size());
    std::vector<float> x(static_cast<size_t>(tokens * spec().hidden));
    QD_ASSIGN_OR_RETURN(const Embedding embedding, Embedding::Load(spec(), checkpoint()));
    QD_RETURN_IF_ERROR(embedding.WithRotation(rotation_).Embed(ids, x.data()));
    const RopeTables ropes = RopeTables::Make(spec(), tokens);
    for (const BlockSpec& block : spec().blocks) {
      QD_ASSIGN_OR_RETURN(const BlockWeights weights, Rotated(block));
      QD_RETURN_IF_ERROR(ForwardBlock(spec(), block, weights, ropes, backend_, ComputeType::kF32,
                                      tokens, x.data(), nullptr));
    }
    QD_ASSIGN_OR_RETURN(const Head head, RotatedHead());
    std::vector<float> logits(ids.size() * static_cast<size_t>(spec().vocabulary));
    QD_RETURN_IF_ERROR(head.Logits(x.data(), tokens, logits.data()));
    return std::pair(std::move(x), std::move(logits));
  }

  Backend& backend_ = **FindBackend("cpu");
  std::string folder_;
  std::unique_ptr<WholeModel> model_;
  std::shared_ptr<const Rotation> rotation_;
};

TEST_P(RotatedModelTest, LogitsStayThoseOfTransformers) {
  const Json golden = *ParseJson(*ReadFile(folder_ + "/golden_logits.json", 1 << 24), folder_);
  const auto ids = golden.at("ids").get<std::vector<int32_t>>();
  const auto run = Run(ids);
  ASSERT_TRUE(run.ok()) << run.status();
  double largest = 0;
  size_t i = 0;
  for (const Json& row : golden.at("logits")) {
    for (const Json& logit : row) {
      const double difference =
          std::abs(static_cast<double>(run->second.at(i++)) - logit.get<double>());
      if (!(difference <= largest)) largest = difference;  // NaN too
    }
  }
  EXPECT_EQ(i, run->second.size());
  RecordProperty("largest_difference", std::to_string(largest));
  EXPECT_LE(largest, 2e-4);
}

// The stream of the rotated model is the original's, rotated: and it is another one.
TEST_P(RotatedModelTest, TheStreamIsRotated) {
  const std::vector<int32_t> ids = {3, 1, 4, 1, 5, 9, 2, 6};
  const auto run = Run(ids);
  ASSERT_TRUE(run.ok()) << run.status();
  auto x = model_->Activations(ids, ComputeType::kF32);
  ASSERT_TRUE(x.ok()) << x.status();
  const std::vector<float> before = *x;
  rotation_->ApplyToRows(x->data(), static_cast<int64_t>(ids.size()));
  double error = 0, moved = 0, energy = 0;
  for (size_t i = 0; i < x->size(); ++i) {
    error += std::pow(static_cast<double>(run->first[i] - (*x)[i]), 2);
    moved += std::pow(static_cast<double>(before[i] - (*x)[i]), 2);
    energy += std::pow(static_cast<double>(before[i]), 2);
  }
  EXPECT_LE(std::sqrt(error / energy), 1e-5);
  EXPECT_GE(std::sqrt(moved / energy), 0.5);
}

TEST_P(RotatedModelTest, EveryNormBeforeALinearBecomesOnes) {
  for (const BlockSpec& block : spec().blocks) {
    const auto transform = RotationOfBlock(block, checkpoint(), rotation_);
    ASSERT_TRUE(transform.ok()) << transform.status();
    for (const NormRole role : {NormRole::kAttention, NormRole::kMlp}) {
      if (!block.Has(role)) continue;
      const auto norm = transform->norms.find(block.norm(role).gain);
      ASSERT_NE(norm, transform->norms.end());
      EXPECT_EQ(norm->second, std::vector<float>(static_cast<size_t>(spec().hidden), 1.0F));
    }
    for (const NormRole role : {NormRole::kQ, NormRole::kK}) {
      if (!block.Has(role)) continue;
      EXPECT_FALSE(transform->norms.contains(block.norm(role).gain));
    }
    for (const Transform& linear : transform->linears) EXPECT_TRUE(linear.rotates());
  }
}

INSTANTIATE_TEST_SUITE_P(Models, RotatedModelTest,
                         testing::Combine(testing::Values("llama", "llama-biases", "mistral-window",
                                                          "mixtral", "phi3", "qwen2-tied-window",
                                                          "qwen3", "qwen3_moe"),
                                          testing::Values(Kind::kHadamard, Kind::kDense)),
                         [](const auto& info) {
                           std::string name = std::get<0>(info.param);
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name + (std::get<1>(info.param) == Kind::kHadamard ? "_hadamard"
                                                                                     : "_dense");
                         });

class TransformRowsTest : public testing::Test {
 protected:
  const Rotation hadamard_ = *Rotation::Hadamard(8, 1);
  std::vector<float> Weights() {
    std::vector<float> w(64);
    for (size_t i = 0; i < w.size(); ++i) w[i] = std::sin(static_cast<float>(3 * i));
    return w;
  }
};

// Gain, then the rotation, then the scales of rows and columns.
TEST_F(TransformRowsTest, PanelsOfRowsAreThoseOfTheWhole) {
  Transform transform;
  transform.input = std::make_shared<const Rotation>(hadamard_);
  for (size_t i = 0; i < 8; ++i) {
    transform.gain.push_back(static_cast<float>(i) + 0.5F);
    transform.rows.push_back(static_cast<float>(i) - 2.5F);
    transform.columns.push_back(1.0F / static_cast<float>(i + 1));
  }
  std::vector<float> whole = Weights(), panels = Weights(), wanted = Weights();
  ASSERT_TRUE(transform.Apply(0, 8, 8, whole.data()).ok());
  ASSERT_TRUE(transform.Apply(0, 3, 8, panels.data()).ok());
  ASSERT_TRUE(transform.Apply(3, 5, 8, panels.data() + 24).ok());
  EXPECT_EQ(whole, panels);
  for (size_t i = 0; i < 64; ++i) wanted[i] *= transform.gain[i % 8];
  hadamard_.ApplyToRows(wanted.data(), 8);
  for (size_t i = 0; i < 64; ++i) wanted[i] *= transform.rows[i / 8] * transform.columns[i % 8];
  for (size_t i = 0; i < 64; ++i) EXPECT_FLOAT_EQ(whole[i], wanted[i]);
}

TEST_F(TransformRowsTest, PartsOfMixedRowsAreRefused) {
  Transform transform;
  transform.output = std::make_shared<const Rotation>(hadamard_);
  std::vector<float> w = Weights();
  EXPECT_EQ(ReasonOf(transform.Apply(0, 3, 8, w.data())), Reason::kInternal);
  EXPECT_EQ(w, Weights());
  EXPECT_TRUE(transform.Apply(0, 8, 8, w.data()).ok());
}

TEST(HeldEditedTest, ReadsAsEditedUntilReleased) {
  const auto model = WholeModel::Open(SourcePath("tests/golden/models/llama-biases"));
  ASSERT_TRUE(model.ok()) << model.status();
  std::vector<WeightSource> sources = SourcesOf((*model)->checkpoint(), (*model)->spec().blocks[0]);
  WeightSource& source = sources[0];
  const int64_t stored = source.bytes();
  std::vector<float> before(64), after(64), held(64);
  ASSERT_TRUE(source.ReadF32(1, 1, before.data()).ok());
  EXPECT_EQ(source.dtype(), DType::kBF16);
  ASSERT_TRUE(source
                  .HoldEdited([](float* values) {
                    values[64] += 0.1F;
                    return absl::OkStatus();
                  })
                  .ok());
  EXPECT_EQ(source.dtype(), DType::kF32);
  EXPECT_EQ(source.Held()->dtype, DType::kF32);
  EXPECT_EQ(source.bytes(), stored);
  ASSERT_TRUE(source.ReadF32(1, 1, after.data()).ok());
  ASSERT_TRUE(source.Read(1, 1, std::as_writable_bytes(std::span(held))).ok());
  before[0] += 0.1F;
  EXPECT_EQ(before, after);
  EXPECT_EQ(before, held);
  source.Release();
  EXPECT_EQ(ReasonOf(source.ReadF32(1, 1, after.data())), Reason::kInternal);
  EXPECT_EQ(ReasonOf(source.Read(1, 1, std::as_writable_bytes(std::span(held)))),
            Reason::kInternal);
}

}  // namespace
}  // namespace quantd
