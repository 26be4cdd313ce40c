#include "engine/method/hessian_factor.h"

#include <cmath>
#include <numeric>
#include <random>
#include <vector>

#include "base/files.h"
#include "gtest/gtest.h"
#include "tests/engine/method/method_context.h"

namespace quantd {
namespace {

constexpr int64_t kChannels = 1100;  // two panels and a part
constexpr int64_t kTokens = 300;
constexpr double kDamping = 0.01;

// Statistics of drawn tokens; channel 7 is never seen.
InputStatistics Drawn() {
  std::mt19937 generator(3);
  std::normal_distribution<float> normal;
  InputStatistics statistics(kChannels);
  std::vector<float> x(static_cast<size_t>(kTokens * kChannels));
  for (int64_t t = 0; t < kTokens; ++t) {
    const float common = normal(generator);
    for (int64_t k = 0; k < kChannels; ++k) {
      x[static_cast<size_t>(t * kChannels + k)] = k == 7 ? 0 : common + normal(generator);
    }
  }
  statistics.Add(x.data(), kTokens);
  statistics.gram = Gram::Make(kChannels, kChannels, "").value();
  for (int64_t i = 0; i < kChannels; ++i) {
    for (int64_t j = 0; j <= i; ++j) {
      double sum = 0;
      for (int64_t t = 0; t < kTokens; ++t) {
        sum += static_cast<double>(x[static_cast<size_t>(t * kChannels + i)]) *
               static_cast<double>(x[static_cast<size_t>(t * kChannels + j)]);
      }
      statistics.gram.Set(i, j, static_cast<float>(sum));
    }
  }
  return statistics;
}

const InputStatistics& Statistics() {
  static const auto* const statistics = new InputStatistics(Drawn());
  return *statistics;
}

std::vector<int32_t> Shuffled() {
  std::vector<int32_t> order(kChannels);
  std::iota(order.begin(), order.end(), 0);
  std::shuffle(order.begin(), order.end(), std::mt19937(5));
  return order;
}

TEST(DampedHessianTest, DampsTheDiagonalAndCountsUnseenChannelsAsTheMean) {
  const auto hessian = DampedHessian::Of(Statistics(), kDamping);
  ASSERT_TRUE(hessian.ok()) << hessian.status();
  const double own = static_cast<double>(Statistics().gram.At(3, 3)) / kTokens;
  EXPECT_NEAR(hessian->At(3, 3), own + kDamping * hessian->mean, 1e-5);
  EXPECT_NEAR(hessian->At(7, 7), (1 + kDamping) * hessian->mean, 1e-5);
  EXPECT_EQ(hessian->At(1050, 3), hessian->At(3, 1050));
}

TEST(DampedHessianTest, MultipliesAnyPartAsTheWholeMatrixWould) {
  const auto hessian = DampedHessian::Of(Statistics(), kDamping);
  ASSERT_TRUE(hessian.ok()) << hessian.status();
  constexpr int64_t kWidth = 3;
  std::mt19937 generator(4);
  std::normal_distribution<float> normal;
  struct Part {
    int64_t begin, count, from, channels;
  };
  for (const auto& [begin, count, from, channels] : std::vector<Part>{{0, kChannels, 0, kChannels},
                                                                      {384, 128, 0, kChannels},
                                                                      {500, 40, 490, 60},
                                                                      {1024, 76, 16, 32},
                                                                      {16, 16, 1000, 100},
                                                                      {600, 10, 600, 10}}) {
    std::vector<float> right(static_cast<size_t>(channels * kWidth));
    for (float& value : right) value = normal(generator);
    std::vector<float> product(static_cast<size_t>(count * kWidth), 1.0F);
    ASSERT_TRUE(hessian
                    ->Multiply(begin, count, {right.data(), from, channels}, kWidth, -0.5F, 2.0F,
                               TestContext(), product.data())
                    .ok());
    for (int64_t i = 0; i < count; i += 7) {
      for (int64_t n = 0; n < kWidth; ++n) {
        double sum = 2;
        for (int64_t k = 0; k < channels; ++k) {
          sum -= 0.5 * static_cast<double>(hessian->At(begin + i, from + k)) *
                 static_cast<double>(right[static_cast<size_t>(k * kWidth + n)]);
        }
        EXPECT_NEAR(product[static_cast<size_t>(i * kWidth + n)], sum, 2e-3) << begin + i;
      }
    }
  }
}

TEST(HessianFactorTest, IsTheHessianInTheOrderAsked) {
  const auto hessian = DampedHessian::Of(Statistics(), kDamping);
  ASSERT_TRUE(hessian.ok()) << hessian.status();
  const std::vector<int32_t> order = Shuffled();
  const auto factor = Factor(*hessian, order, TestContext());
  ASSERT_TRUE(factor.ok()) << factor.status();
  // D from the diagonal of H = L D L^T, row by row.
  std::vector<double> d(kChannels);
  const auto product = [&](int64_t i, int64_t j) {  // of what is left of column j
    double sum = 0;
    for (int64_t k = 0; k < j; ++k) {
      sum += static_cast<double>(factor->lower.Row(i)[k]) *
             static_cast<double>(factor->lower.Row(j)[k]) * d[static_cast<size_t>(k)];
    }
    return sum;
  };
  const auto wanted = [&](int64_t i, int64_t j) {
    return static_cast<double>(
        hessian->At(order[static_cast<size_t>(i)], order[static_cast<size_t>(j)]));
  };
  for (int64_t i = 0; i < kChannels; ++i) {
    d[static_cast<size_t>(i)] = wanted(i, i) - product(i, i);
    ASSERT_GT(d[static_cast<size_t>(i)], 0);
  }
  for (int64_t i = 1; i < kChannels; i += 13) {
    for (int64_t j = 0; j < i; j += 17) {
      const double got =
          product(i, j) + static_cast<double>(factor->lower.Row(i)[j]) * d[static_cast<size_t>(j)];
      EXPECT_NEAR(got, wanted(i, j), 2e-3) << i << ", " << j;
    }
  }
}

TEST(HessianFactorTest, SameBitsInAFile) {
  const auto hessian = DampedHessian::Of(Statistics(), kDamping);
  ASSERT_TRUE(hessian.ok()) << hessian.status();
  const auto folder = TemporaryFolder::Create("factor-test");
  MethodContext in_file = TestContext();
  in_file.scratch_folder = folder->path();
  const auto a = Factor(*hessian, Shuffled(), TestContext());
  const auto b = Factor(*hessian, Shuffled(), in_file);
  ASSERT_TRUE(a.ok() && b.ok()) << a.status() << b.status();
  for (int64_t i = 0; i < kChannels; ++i) {
    EXPECT_TRUE(std::equal(a->lower.Row(i), a->lower.Row(i) + i, b->lower.Row(i))) << i;
  }
}

}  // namespace
}  // namespace quantd
