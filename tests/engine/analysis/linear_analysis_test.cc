#include "engine/analysis/linear_analysis.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

#include "engine/analysis/codebook.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace quantd {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr int64_t kRows = 40, kColumns = 256, kGroup = 32, kTokens = 50;

// A linear at 4 bits by the range of each group; one channel of its inputs is loud.
class LinearAnalysisTest : public ::testing::Test {
 protected:
  LinearAnalysisTest() : weights_(Random(kRows * kColumns, 1)), x_(Random(kTokens * kColumns, 2)) {
    scheme_.bits = 4;
    scheme_.group_size = kGroup;
    scheme_.scale_dtype = DType::kF32;
    for (int64_t t = 0; t < kTokens; ++t) x_[static_cast<size_t>(t * kColumns + 77)] *= 30;
    quantized_ = RoomFor(scheme_, kRows, kColumns);
    for (int64_t n = 0; n < kRows; ++n) {
      for (int64_t g = 0; g < quantized_.groups; ++g) Round(n, g);
    }
  }
  static std::vector<float> Random(int64_t count, uint32_t seed) {
    std::mt19937 generator(seed);
    std::normal_distribution<float> normal;
    std::vector<float> values(static_cast<size_t>(count));
    for (float& value : values) value = normal(generator);
    return values;
  }
  void Round(int64_t n, int64_t g) {
    const auto begin = static_cast<size_t>(n * kColumns + g * kGroup);
    float absmax = 0;
    for (size_t i = begin; i < begin + kGroup; ++i)
      absmax = std::max(absmax, std::fabs(weights_[i]));
    const float scale = absmax / 7.5F;
    quantized_.scales[static_cast<size_t>(n * quantized_.groups + g)] = scale;
    for (size_t i = begin; i < begin + kGroup; ++i) {
      quantized_.codes[i] =
          static_cast<int8_t>(std::clamp(std::nearbyint(weights_[i] / scale), -8.0F, 7.0F));
    }
  }
  AnalysedLinear Linear() const {
    return {.scheme = scheme_,
            .quantized = quantized_,
            .read =
                [this](int64_t row, float* to) {
                  std::copy_n(weights_.begin() + row * kColumns, kColumns, to);
                  return absl::OkStatus();
                },
            .x = x_,
            .tokens = kTokens,
            .mean_squares = {},
            .factors = factors_};
  }
  LayerAnalysis Analyze(int threads = 2) const {
    ThreadPool pool(threads);
    auto analysis = AnalyzeLinear(Linear(), **FindBackend("cpu"), pool);
    EXPECT_TRUE(analysis.ok()) << analysis.status();
    return *std::move(analysis);
  }
  // What rounding changed in each weight.
  std::vector<double> Errors() const {
    std::vector<double> errors(weights_.size());
    std::vector<float> row(kColumns);
    for (size_t n = 0; n < kRows; ++n) {
      quantized_.Dequantize(static_cast<int64_t>(n), row.data());
      for (size_t k = 0; k < kColumns; ++k) {
        errors[n * kColumns + k] =
            static_cast<double>(row[k]) - static_cast<double>(weights_[n * kColumns + k]);
      }
    }
    return errors;
  }
  // ||X M^T||^2, rows divided by the factors.
  double OutputEnergy(const std::vector<double>& matrix) const {
    double energy = 0;
    for (size_t n = 0; n < kRows; ++n) {
      const double factor = factors_.empty() ? 1.0 : static_cast<double>(factors_[n]);
      for (size_t t = 0; t < kTokens; ++t) {
        double y = 0;
        for (size_t k = 0; k < kColumns; ++k) {
          y += matrix[n * kColumns + k] * static_cast<double>(x_[t * kColumns + k]);
        }
        energy += y * y / (factor * factor);
      }
    }
    return energy;
  }
  double RelativeError(const std::vector<double>& errors) const {
    const std::vector<double> weights(weights_.begin(), weights_.end());
    return std::sqrt(OutputEnergy(errors) / OutputEnergy(weights));
  }

  Scheme scheme_;
  std::vector<float> weights_, x_, factors_;
  QuantizedRows quantized_;
};

TEST_F(LinearAnalysisTest, ProtectionIsTheErrorWithoutTheWorstChannels) {
  const LayerAnalysis analysis = Analyze();
  std::vector<double> errors = Errors();
  EXPECT_EQ(analysis.rows, kRows);
  EXPECT_NEAR(analysis.output_error, RelativeError(errors), 1e-5);
  std::vector<double> salience(kColumns), energy(kColumns);
  for (size_t i = 0; i < errors.size(); ++i) salience[i % kColumns] += errors[i] * errors[i];
  for (size_t i = 0; i < x_.size(); ++i) {
    energy[i % kColumns] += static_cast<double>(x_[i]) * static_cast<double>(x_[i]);
  }
  for (size_t k = 0; k < kColumns; ++k) salience[k] *= energy[k];
  std::vector<size_t> order(kColumns);
  std::iota(order.begin(), order.end(), 0U);
  std::sort(order.begin(), order.end(),
            [&](size_t a, size_t b) { return salience[a] > salience[b]; });
  EXPECT_EQ(order[0], 77u);
  ASSERT_THAT(analysis.salient, SizeIs(2));
  EXPECT_EQ(analysis.salient[0].channels, 1);
  EXPECT_EQ(analysis.salient[1].channels, 3);
  size_t protected_channels = 0;
  for (const SalientProtection& one : analysis.salient) {
    for (; protected_channels < static_cast<size_t>(one.channels); ++protected_channels) {
      for (size_t n = 0; n < kRows; ++n) errors[n * kColumns + order[protected_channels]] = 0;
    }
    EXPECT_NEAR(one.output_error, RelativeError(errors), 1e-5);
  }
  // The loud channel carries most of the error.
  EXPECT_LT(analysis.salient[0].output_error, 0.6 * analysis.output_error);
}

TEST_F(LinearAnalysisTest, CodebooksAreMeasuredBesideTheUniformCodes) {
  const LayerAnalysis analysis = Analyze();
  ASSERT_THAT(analysis.codebooks, SizeIs(3));
  EXPECT_EQ(analysis.codebooks[0].name, "uniform");
  EXPECT_EQ(analysis.codebooks[0].output_error, analysis.output_error);
  EXPECT_DOUBLE_EQ(analysis.codebooks[0].bits_per_weight, 5);  // 4 and an f32 per 32
  EXPECT_EQ(analysis.codebooks[1].name, "nf4");
  EXPECT_DOUBLE_EQ(analysis.codebooks[1].bits_per_weight, 5);
  EXPECT_EQ(analysis.codebooks[2].name, "k-means");
  EXPECT_DOUBLE_EQ(analysis.codebooks[2].bits_per_weight, 20);
  std::vector<double> errors(weights_.size());
  double squares = 0, energy = 0;
  for (size_t begin = 0; begin < weights_.size(); begin += kGroup) {
    const std::span group(weights_.data() + begin, kGroup);
    float absmax = 0;
    for (const float weight : group) absmax = std::max(absmax, std::fabs(weight));
    for (size_t i = 0; i < kGroup; ++i) {
      double least = 1e9;
      for (const float level : kNf4Levels) {
        const double error = static_cast<double>(level) * static_cast<double>(absmax) -
                             static_cast<double>(group[i]);
        if (std::fabs(error) < std::fabs(least)) least = error;
      }
      errors[begin + i] = least;
      squares += least * least;
      energy += static_cast<double>(group[i]) * static_cast<double>(group[i]);
    }
  }
  EXPECT_NEAR(analysis.codebooks[1].weight_error, std::sqrt(squares / energy), 1e-5);
  EXPECT_NEAR(analysis.codebooks[1].output_error, RelativeError(errors), 1e-5);
  // Weighted by mean x^2, 16 levels for 32 weights leave little of what matters.
  EXPECT_LT(analysis.codebooks[2].output_error, 0.6 * analysis.output_error);
}

TEST_F(LinearAnalysisTest, FoldedRowsAreSeenAsTheyWere) {
  factors_ = Random(kRows, 5);
  for (float& factor : factors_) factor = 0.1F + std::fabs(factor);
  EXPECT_NEAR(Analyze().output_error, RelativeError(Errors()), 1e-5);
}

TEST_F(LinearAnalysisTest, TheSameForAnyNumberOfThreads) {
  const LayerAnalysis once = Analyze(1);
  EXPECT_EQ(once, Analyze(3));
  const auto read = LayerAnalysisFromJson(ToJson(once));
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(*read, once);
}

TEST_F(LinearAnalysisTest, EightBitsHaveNoCodebooks) {
  scheme_.bits = 8;
  EXPECT_THAT(Analyze().codebooks, IsEmpty());
}

TEST(LayerAnalysisTest, MeansInOneLine) {
  const LayerAnalysis a = {.rows = 1,
                           .output_error = 0.05,
                           .salient = {{.share = 0.01, .channels = 2, .output_error = 0.04}},
                           .codebooks = {{.name = "uniform", .output_error = 0.05},
                                         {.name = "nf4", .output_error = 0.03}}};
  LayerAnalysis b = a;
  b.output_error = 0.07;
  EXPECT_EQ(
      DescribeAnalyses({&a, &b}),
      "analysis: output error 6.00 %, with 1 % of channels in 16 bit 4.00 %, with nf4 3.00 %");
  EXPECT_EQ(DescribeAnalyses({}), "");
}

}  // namespace
}  // namespace quantd
