// Rotations are orthogonal for every width, and what cannot be rotated is refused by name.
#include "engine/model/rotation.h"

#include <bit>
#include <cmath>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/error.h"
#include "engine/model/registry.h"
#include "engine/model/residual_stream.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/engine/open_model.h"
#include "tests/paths.h"

namespace quantd {
namespace {

using ::testing::HasSubstr;

// The matrix itself: R = 1 R.
std::vector<float> MatrixOf(const Rotation& rotation) {
  const auto n = static_cast<size_t>(rotation.width());
  std::vector<float> matrix(n * n, 0.0F);
  for (size_t i = 0; i < n; ++i) matrix[i * n + i] = 1;
  rotation.ApplyToRows(matrix.data(), rotation.width());
  return matrix;
}

// The largest |R R^T - 1|.
double DistanceFromOrthogonal(const std::vector<float>& matrix, size_t n) {
  double largest = 0;
  for (size_t i = 0; i < n; ++i) {
    for (size_t j = 0; j <= i; ++j) {
      double product = i == j ? -1 : 0;
      for (size_t k = 0; k < n; ++k) {
        product += static_cast<double>(matrix[i * n + k]) * static_cast<double>(matrix[j * n + k]);
      }
      if (!(std::abs(product) <= largest)) largest = std::abs(product);  // NaN too
    }
  }
  return largest;
}

// Powers of two, of the tiny models and of real ones: 96 = 3 * 32, 576 = 9 * 64 (SmolLM),
// 896 = 7 * 128 (Qwen 2.5).
class HadamardTest : public testing::TestWithParam<int64_t> {};

TEST_P(HadamardTest, IsOrthogonal) {
  const auto rotation = Rotation::Hadamard(GetParam(), 5);
  ASSERT_TRUE(rotation.ok()) << rotation.status();
  EXPECT_LE(DistanceFromOrthogonal(MatrixOf(*rotation), static_cast<size_t>(GetParam())), 1e-6);
}

// Sylvester's matrix is (-1)^(bits that i and j share), here with a sign before each row.
TEST_P(HadamardTest, IsSylvestersMatrixInStretches) {
  const auto rotation = Rotation::Hadamard(GetParam(), 5);
  ASSERT_TRUE(rotation.ok()) << rotation.status();
  const auto n = static_cast<size_t>(GetParam()), m = static_cast<size_t>(rotation->mixed());
  EXPECT_TRUE(std::has_single_bit(m));
  EXPECT_EQ(n / m % 2, 1U);
  const std::vector<float> matrix = MatrixOf(*rotation);
  const auto size = static_cast<float>(1 / std::sqrt(static_cast<double>(m)));
  size_t negative = 0;
  for (size_t i = 0; i < n; ++i) {
    const float sign = std::copysign(1.0F, matrix[i * n + i / m * m]);
    negative += sign < 0 ? 1 : 0;
    for (size_t j = 0; j < n; ++j) {
      const bool minus = std::popcount((i % m) & (j % m)) % 2 == 1;
      const float wanted = i / m != j / m ? 0 : size * (minus ? -sign : sign);
      ASSERT_EQ(matrix[i * n + j], wanted) << i << ", " << j;
    }
  }
  if (n >= 32) {
    EXPECT_GT(negative, n / 4);
    EXPECT_LT(negative, n * 3 / 4);
  }
}

INSTANTIATE_TEST_SUITE_P(Widths, HadamardTest,
                         testing::Values(2, 6, 32, 64, 96, 128, 256, 512, 576, 896));

TEST(RotationTest, SignsGoByTheSeed) {
  EXPECT_EQ(MatrixOf(*Rotation::Hadamard(64, 3)), MatrixOf(*Rotation::Hadamard(64, 3)));
  EXPECT_NE(MatrixOf(*Rotation::Hadamard(64, 3)), MatrixOf(*Rotation::Hadamard(64, 4)));
}

// (R^T W)^T = W^T R, for more columns than one panel has.
TEST(RotationTest, ColumnsTurnAsRowsOfTheTransposed) {
  constexpr size_t kRows = 24, kColumns = 37;
  const Rotation hadamard = *Rotation::Hadamard(kRows, 9);
  const auto dense = Rotation::Dense(kRows, MatrixOf(hadamard));
  ASSERT_TRUE(dense.ok()) << dense.status();
  for (const Rotation* rotation : {&hadamard, &*dense}) {
    std::vector<float> w(kRows * kColumns), transposed(w.size());
    for (size_t i = 0; i < w.size(); ++i) {
      w[i] = std::sin(static_cast<float>(i));
      transposed[i % kColumns * kRows + i / kColumns] = w[i];
    }
    rotation->ApplyToColumns(w.data(), kColumns);
    rotation->ApplyToRows(transposed.data(), kColumns);
    for (size_t i = 0; i < w.size(); ++i) {
      EXPECT_EQ(w[i], transposed[i % kColumns * kRows + i / kColumns]);
    }
  }
}

TEST(RotationTest, DenseTurnsAsTheHadamardThatItHolds) {
  const Rotation hadamard = *Rotation::Hadamard(96, 2);
  const Rotation dense = *Rotation::Dense(96, MatrixOf(hadamard));
  std::vector<float> one(96), other;
  for (size_t i = 0; i < one.size(); ++i) one[i] = std::cos(static_cast<float>(i * i));
  other = one;
  hadamard.ApplyToRows(one.data(), 1);
  dense.ApplyToRows(other.data(), 1);
  for (size_t i = 0; i < one.size(); ++i) EXPECT_NEAR(one[i], other[i], 1e-6F);
}

TEST(RotationTest, WhatIsNoRotationIsRefused) {
  for (const int64_t width : {-2, 0, 1, 7, 129}) {
    EXPECT_EQ(ReasonOf(Rotation::Hadamard(width, 1).status()), Reason::kInvalidField) << width;
  }
  std::vector<float> matrix = MatrixOf(*Rotation::Hadamard(8, 1));
  EXPECT_TRUE(Rotation::Dense(8, matrix).ok());
  EXPECT_EQ(ReasonOf(Rotation::Dense(4, matrix).status()), Reason::kInvalidField);
  EXPECT_EQ(ReasonOf(Rotation::Dense(0, {}).status()), Reason::kInvalidField);
  for (const float bad : {1.001F, std::nanf("")}) {
    std::vector<float> off = matrix;
    off[11] *= bad;
    EXPECT_EQ(ReasonOf(Rotation::Dense(8, off).status()), Reason::kInvalidField) << bad;
  }
}

TEST(ResidualStreamTest, WhatCannotBeRotatedIsRefusedByName) {
  const std::map<std::string, std::string> wanted = {
      {"llama", ""},
      {"llama-biases", ""},
      {"mistral-window", ""},
      {"mixtral", ""},
      {"phi3", ""},
      {"qwen2-tied-window", ""},
      {"qwen3", ""},
      {"qwen3_moe", ""},
      {"gemma", "norms that add to their stored gain"},
      {"gemma2", "norms that add to their stored gain"},
      {"gemma3_text", "norms that add to their stored gain"},
      {"llava", "a part beside the language model"},
      {"opt", "LayerNorm"},
      {"gpt2", "LayerNorm"},
      {"gpt_neox", "LayerNorm"},
      {"falcon-grouped", "LayerNorm"},
      {"starcoder2", "LayerNorm"},
  };
  for (const auto& [name, why] : wanted) {
    const std::string folder = SourcePath("tests/golden/models/") + name;
    const auto checkpoint = OpenCheckpoint(folder);
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
    const auto model = ReadModelSpec(**OpenModelFolder(folder), *checkpoint);
    ASSERT_TRUE(model.ok()) << model.status();
    const absl::Status status = CheckRotatable(*model);
    if (why.empty()) {
      EXPECT_TRUE(status.ok()) << name << ": " << status;
    } else {
      EXPECT_EQ(ReasonOf(status), Reason::kModelUnsupported) << name;
      EXPECT_THAT(status.ToString() +
                      (ViolationsOf(status).empty() ? "" : ViolationsOf(status).front().got),
                  HasSubstr(why))
          << name;
    }
  }
}

// What no family does today: each is named.
TEST(ResidualStreamTest, PartsInTheWayAreNamed) {
  const std::string folder = SourcePath("tests/golden/models/llama");
  const auto checkpoint = OpenCheckpoint(folder);
  const ModelSpec llama = *ReadModelSpec(**OpenModelFolder(folder), *checkpoint);
  const auto where = [](const ModelSpec& model) {
    const auto violations = ViolationsOf(CheckRotatable(model));
    return violations.empty() ? std::string() : violations.front().where;
  };
  ModelSpec model = llama;
  model.hidden = 63;
  EXPECT_EQ(where(model), "hidden_size");
  model = llama;
  model.positions = "wpe.weight";
  EXPECT_EQ(where(model), "wpe.weight");
  model = llama;
  model.blocks[1].norm(NormRole::kMlpOut).gain = "post.weight";
  EXPECT_EQ(where(model), "post.weight");
  model = llama;
  model.blocks[1].linears[2].role = LinearRole::kOther;
  EXPECT_EQ(where(model), model.blocks[1].linears[2].name);
  model = llama;
  model.blocks[0].norm(NormRole::kMlp).gain = "";
  EXPECT_NE(where(model), "");
}

}  // namespace
}  // namespace quantd
