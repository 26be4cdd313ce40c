// A model whose residual stream is rotated, embedding and output projection included, has the
// logits that transformers computes of the original.
#include "engine/rotated_source/rotated_model.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "base/files.h"
#include "base/json.h"
#include "engine/tensor/shown_file.h"
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

// A model with all its tensors in f32: what is rounded to nothing else keeps its function exactly.
class WideModel : public ModelFiles {
 public:
  explicit WideModel(std::shared_ptr<const ModelFiles> files) : files_(std::move(files)) {
    const auto checkpoint = std::make_shared<const Checkpoint>(*Checkpoint::Open(files_));
    std::vector<TensorInfo> infos;
    for (const TensorInfo* info : checkpoint->Tensors()) {
      infos.push_back(*info);
      infos.back().dtype = DType::kF32;
    }
    tensors_ = *ShownTensors::Create(
        "wide", infos,
        [checkpoint, infos](size_t index, int64_t begin, std::span<std::byte> out) -> absl::Status {
          QD_ASSIGN_OR_RETURN(const auto values, checkpoint->ReadF32(infos[index].name));
          std::memcpy(out.data(), reinterpret_cast<const std::byte*>(values.data()) + begin,
                      out.size());
          return absl::OkStatus();
        });
  }
  const std::string& location() const override { return files_->location(); }
  absl::StatusOr<std::vector<std::string>> List() const override { return files_->List(); }
  bool Has(std::string_view name) const override { return files_->Has(name); }
  absl::StatusOr<std::unique_ptr<RandomAccessFile>> Open(std::string_view name) const override {
    return name == "model.safetensors" ? quantd::Open(tensors_) : files_->Open(name);
  }

 private:
  std::shared_ptr<const ModelFiles> files_;
  std::shared_ptr<const ShownTensors> tensors_;
};

class RotatedModelTest : public testing::TestWithParam<std::tuple<std::string, Kind>> {
 protected:
  void SetUp() override {
    folder_ = SourcePath("tests/golden/models/") + std::get<0>(GetParam());
    files_ = std::make_shared<const WideModel>(*OpenModelFolder(folder_));
    model_ = *WholeModel::Open(files_);
    const RotationRule rule =
        std::get<1>(GetParam()) == Kind::kHadamard ? HadamardRule(11) : Dense();
    auto shown = ShowRotated(files_, rule);
    ASSERT_TRUE(shown.ok()) << shown.status();
    shown_ = *std::move(shown);
    auto rotated = WholeModel::Open(shown_);
    ASSERT_TRUE(rotated.ok()) << rotated.status();
    rotated_ = *std::move(rotated);
    rotation_ = *rule.make(model_->spec().hidden);
  }
  static RotationRule Dense() {
    return {.name = "dense", .make = [](int64_t width) {
              return Rotation::Dense(width, RandomOrthogonal(static_cast<size_t>(width), 4));
            }};
  }

  std::string folder_;
  std::shared_ptr<const ModelFiles> files_, shown_;
  std::unique_ptr<WholeModel> model_, rotated_;
  std::optional<Rotation> rotation_;
};

TEST_P(RotatedModelTest, LogitsStayThoseOfTransformers) {
  const Json golden = *ParseJson(*ReadFile(folder_ + "/golden_logits.json", 1 << 24), folder_);
  const auto ids = golden.at("ids").get<std::vector<int32_t>>();
  const auto logits = rotated_->Logits(ids, ComputeType::kF32);
  ASSERT_TRUE(logits.ok()) << logits.status();
  double largest = 0;
  size_t i = 0;
  for (const Json& row : golden.at("logits")) {
    for (const Json& logit : row) {
      const double difference =
          std::abs(static_cast<double>(logits->at(i++)) - logit.get<double>());
      if (!(difference <= largest)) largest = difference;  // NaN too
    }
  }
  EXPECT_EQ(i, logits->size());
  RecordProperty("largest_difference", std::to_string(largest));
  EXPECT_LE(largest, 2e-4);
}

// The stream of the rotated model is the original's, rotated: and it is another one.
TEST_P(RotatedModelTest, TheStreamIsRotated) {
  const std::vector<int32_t> ids = {3, 1, 4, 1, 5, 9, 2, 6};
  const auto run = rotated_->Activations(ids, ComputeType::kF32);
  ASSERT_TRUE(run.ok()) << run.status();
  auto x = model_->Activations(ids, ComputeType::kF32);
  ASSERT_TRUE(x.ok()) << x.status();
  const std::vector<float> before = *x;
  rotation_->ApplyToRows(x->data(), static_cast<int64_t>(ids.size()));
  double error = 0, moved = 0, energy = 0;
  for (size_t i = 0; i < x->size(); ++i) {
    error += std::pow(static_cast<double>((*run)[i] - (*x)[i]), 2);
    moved += std::pow(static_cast<double>(before[i] - (*x)[i]), 2);
    energy += std::pow(static_cast<double>(before[i]), 2);
  }
  EXPECT_LE(std::sqrt(error / energy), 1e-5);
  EXPECT_GE(std::sqrt(moved / energy), 0.5);
}

TEST_P(RotatedModelTest, EveryNormOfTheStreamBecomesOnesAndTheHeadIsATensor) {
  const ModelSpec& spec = rotated_->spec();
  EXPECT_FALSE(spec.tied_embeddings);
  EXPECT_NE(rotated_->checkpoint().Find(spec.head_tensor), nullptr);
  std::vector<std::string> ones = {spec.final_norm.gain};
  std::vector<std::string> kept;
  for (const BlockSpec& block : spec.blocks) {
    for (const NormRole role : {NormRole::kAttention, NormRole::kMlp}) {
      if (block.Has(role)) ones.push_back(block.norm(role).gain);
    }
    for (const NormRole role : {NormRole::kQ, NormRole::kK}) {
      if (block.Has(role)) kept.push_back(block.norm(role).gain);
    }
  }
  for (const std::string& norm : ones) {
    const auto gain = rotated_->checkpoint().ReadF32(norm);
    ASSERT_TRUE(gain.ok()) << gain.status();
    for (const float value : gain->span()) ASSERT_EQ(value, 1.0F) << norm;
  }
  for (const std::string& norm : kept) {
    const auto was = model_->checkpoint().ReadF32(norm), is = rotated_->checkpoint().ReadF32(norm);
    EXPECT_TRUE(std::equal(was->span().begin(), was->span().end(), is->span().begin())) << norm;
  }
}

// A file is what its pieces are, wherever they begin and end.
TEST_P(RotatedModelTest, PiecesAreThoseOfTheWhole) {
  const auto file = shown_->Open("model.safetensors");
  ASSERT_TRUE(file.ok()) << file.status();
  std::vector<std::byte> whole(static_cast<size_t>((*file)->size()));
  ASSERT_TRUE((*file)->Read(0, whole).ok());
  std::vector<std::byte> pieces(whole.size());
  size_t at = 0;
  for (size_t size = 1; at < pieces.size(); size = size * 7 % 4001 + 1) {
    const auto piece = std::span(pieces).subspan(at, std::min(size, pieces.size() - at));
    ASSERT_TRUE((*file)->Read(static_cast<int64_t>(at), piece).ok());
    at += piece.size();
  }
  EXPECT_EQ(pieces, whole);
}

TEST_P(RotatedModelTest, IsKnownByWhatItIsMadeOf) {
  const auto own = rotated_->checkpoint().Fingerprint();
  ASSERT_TRUE(own.ok()) << own.status();
  EXPECT_NE(*own, *model_->checkpoint().Fingerprint());
  const auto other = Checkpoint::Open(*ShowRotated(files_, HadamardRule(12)))->Fingerprint();
  EXPECT_NE(*own, *other);
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

TEST(RotatedModelRefusalTest, ModelsThatCannotBeRotatedSayWhy) {
  for (const char* name : {"gemma2", "gpt2", "opt"}) {
    const auto shown =
        ShowRotated(*OpenModelFolder(SourcePath("tests/golden/models/") + name), HadamardRule(0));
    EXPECT_EQ(ReasonOf(shown.status()), Reason::kModelUnsupported) << name << shown.status();
  }
}

}  // namespace
}  // namespace quantd
