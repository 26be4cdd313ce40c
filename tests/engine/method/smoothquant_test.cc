#include "engine/method/smoothquant.h"

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "base/error.h"
#include "engine/method/int8.h"
#include "gtest/gtest.h"
#include "tests/engine/method/method_context.h"

namespace quantd {
namespace {

constexpr int64_t kInputs = 96, kOutputs = 70;

// Two linears that read one input with outlier channels.
class SmoothQuantTest : public ::testing::Test {
 protected:
  SmoothQuantTest() : statistics_(kInputs) {
    std::mt19937 generator(5);
    std::normal_distribution<float> normal;
    for (std::vector<float>& weight : weights_) {
      for (int64_t i = 0; i < kInputs * kOutputs; ++i) weight.push_back(normal(generator));
    }
    std::vector<float> x;
    for (int64_t i = 0; i < 300 * kInputs; ++i) {
      x.push_back(normal(generator) * (i % kInputs == 7 ? 80.0F : 1.0F));
    }
    statistics_.Add(x.data(), 300);
  }

  TransformChoice Choose(const Options& options, LinearRole role = LinearRole::kQ) {
    SchemeRequest asked;
    asked.options = options;
    linear_ = {.name = "l", .role = role, .out_features = kOutputs, .in_features = kInputs};
    scheme_ = *kSmoothQuant.resolve(asked, linear_, DType::kF32);
    TransformRequest request;
    request.statistics = &statistics_;
    for (const std::vector<float>& weight : weights_) {
      request.linears.push_back({&linear_, &scheme_, [&](int64_t row, int64_t count, float* to) {
                                   std::copy_n(weight.data() + row * kInputs, count * kInputs, to);
                                   return absl::OkStatus();
                                 }});
    }
    return *ChooseSmoothing(request, TestContext());
  }

  // Mean squared error of x W^T over random tokens when W s and x / s are int8, as a server has it.
  double ErrorWith(const std::vector<float>& scales) const {
    std::mt19937 generator(6);
    std::normal_distribution<float> normal;
    std::vector<float> w = weights_[0], x;
    for (int64_t i = 0; i < 200 * kInputs; ++i) {
      x.push_back(normal(generator) * (i % kInputs == 7 ? 80.0F : 1.0F));
    }
    const std::vector<float> plain_w = w, plain_x = x;
    const auto round = [&](std::vector<float>& rows, bool divide) {
      for (size_t begin = 0; begin < rows.size(); begin += kInputs) {
        float most = 0;
        for (size_t k = 0; k < kInputs; ++k) {
          rows[begin + k] *= divide ? 1 / scales[k] : scales[k];
          most = std::max(most, std::fabs(rows[begin + k]));
        }
        const float step = most / 127;
        for (size_t k = 0; k < kInputs; ++k) {
          const float value = std::nearbyint(rows[begin + k] / step) * step;
          rows[begin + k] = divide ? value * scales[k] : value / scales[k];
        }
      }
    };
    round(w, false);
    round(x, true);
    double error = 0;
    for (size_t t = 0; t < x.size(); t += kInputs) {
      for (size_t n = 0; n < w.size(); n += kInputs) {
        double difference = 0;
        for (size_t k = 0; k < kInputs; ++k) {
          difference += static_cast<double>(x[t + k]) * static_cast<double>(w[n + k]) -
                        static_cast<double>(plain_x[t + k]) * static_cast<double>(plain_w[n + k]);
        }
        error += difference * difference;
      }
    }
    return error;
  }

  InputStatistics statistics_;
  std::vector<float> weights_[2];
  LinearSpec linear_;
  Scheme scheme_;
};

TEST_F(SmoothQuantTest, ScalesAreEquationFour) {
  for (const double alpha : {0.0, 0.5, 0.8, 1.0}) {
    const TransformChoice choice = Choose(With("alpha", alpha));
    ASSERT_EQ(choice.scales.size(), static_cast<size_t>(kInputs));
    EXPECT_EQ(choice.figures, (Figures{{"alpha", alpha}}));
    for (size_t k = 0; k < kInputs; ++k) {
      double most = 0;
      for (const std::vector<float>& weight : weights_) {
        for (size_t n = 0; n < kOutputs; ++n) {
          most = std::max(most, std::fabs(static_cast<double>(weight[n * kInputs + k])));
        }
      }
      const double wanted =
          std::pow(static_cast<double>(statistics_.max_abs[k]), alpha) / std::pow(most, 1 - alpha);
      EXPECT_NEAR(static_cast<double>(choice.scales[k]) / wanted, 1, 1e-6);
    }
  }
}

TEST_F(SmoothQuantTest, ChannelsThatNeverWokeStay) {
  statistics_.max_abs[3] = 0;
  statistics_.max_abs[4] = 1e-30F;
  const TransformChoice choice = Choose({});
  EXPECT_EQ(choice.scales[3], 1.0F);
  EXPECT_EQ(choice.scales[4], 1e-5F);
}

TEST_F(SmoothQuantTest, InputsWithoutANormAreSmoothedUnlessToldOtherwise) {
  for (const LinearRole role : {LinearRole::kO, LinearRole::kDown}) {
    EXPECT_FALSE(Choose({}, role).scales.empty());
    EXPECT_TRUE(Choose(With("smooth_all", false), role).scales.empty());
  }
  EXPECT_FALSE(Choose(With("smooth_all", false), LinearRole::kGate).scales.empty());
}

TEST_F(SmoothQuantTest, SearchComesNearTheBestAlpha) {
  const TransformChoice chosen = Choose(With("alpha_search", true));
  ASSERT_EQ(chosen.figures.size(), 1U);
  double least = ErrorWith(std::vector<float>(kInputs, 1.0F));
  const double plain = least;
  for (int i = 0; i <= 20; ++i) {
    least = std::min(least, ErrorWith(Choose(With("alpha", i / 20.0)).scales));
  }
  EXPECT_LE(ErrorWith(chosen.scales), 1.1 * least);
  EXPECT_LT(least, 0.2 * plain) << "the outlier channel is worth moving";
}

TEST_F(SmoothQuantTest, OptionsOutOfRangeAreRefused) {
  SchemeRequest asked;
  asked.options.Set("alpha", 1.5);
  asked.options.Set("damping", 0.1);
  const auto scheme = kSmoothQuant.resolve(asked, linear_, DType::kF32);
  EXPECT_EQ(ViolationsOf(scheme.status()).size(), 2U);
}

// A static scale comes from the statistics; what it clips is told.
TEST(StaticInt8Test, PrepareChoosesTheScale) {
  SchemeRequest asked;
  asked.activations = ActivationScheme::kStatic;
  asked.options.Set("observer", std::string("percentile"));
  asked.options.Set("percentile", 90.0);
  asked.options.Set("activation_symmetric", false);
  const LinearSpec linear = {.name = "l", .out_features = 4, .in_features = 8};
  const auto scheme = kInt8.resolve(asked, linear, DType::kF32);
  ASSERT_TRUE(scheme.ok()) << scheme.status();
  EXPECT_TRUE(kInt8.needs(*scheme).histogram);
  InputStatistics statistics(8);
  std::vector<float> x;
  for (int i = 0; i < 800; ++i) x.push_back(static_cast<float>(i % 100) * 0.1F);
  statistics.Add(x.data(), 100);
  statistics.histogram.Add(x.data(), 800);
  const auto prepared = kInt8.prepare(*scheme, &statistics, TestContext());
  ASSERT_TRUE(prepared.ok());
  ASSERT_TRUE((*prepared)->input.has_value());
  EXPECT_EQ((*prepared)->input->zero, -128) << "no value is below zero";
  EXPECT_NEAR((*prepared)->input->scale * 255, 9.5, 0.1) << "5 % on each side";
  ASSERT_EQ((*prepared)->figures.size(), 3U);
  EXPECT_EQ((*prepared)->figures[2].first, "clipped_share");
  EXPECT_NEAR((*prepared)->figures[2].second, 0.05, 0.011);
}

TEST(StaticInt8Test, DynamicInputsNeedNothing) {
  const LinearSpec linear = {.name = "l", .out_features = 4, .in_features = 8};
  EXPECT_FALSE(kInt8.needs(*kInt8.resolve({}, linear, DType::kF32)).any());
}

}  // namespace
}  // namespace quantd
