#include <cmath>
#include <string>
#include <vector>

#include "engine/backend/backend.h"
#include "gtest/gtest.h"
#include "tests/engine/backend/every_backend.h"
#include "tests/engine/backend/random_values.h"

namespace quantd {
namespace {

class AttentionTest : public EveryBackend {};
QD_EVERY_BACKEND(AttentionTest);

// The definition, in f64.
std::vector<double> Reference(const std::vector<float>& q, const std::vector<float>& k,
                              const std::vector<float>& v, const AttentionShape& shape) {
  const int64_t d = shape.head_dim, group = shape.heads / shape.kv_heads;
  const auto at = [d](const std::vector<float>& x, int64_t token, int64_t heads, int64_t head,
                      int64_t i) {
    return static_cast<double>(x[static_cast<size_t>((token * heads + head) * d + i)]);
  };
  std::vector<double> out(q.size());
  for (int64_t t = 0; t < shape.tokens; ++t) {
    for (int64_t h = 0; h < shape.heads; ++h) {
      const int64_t first = shape.window > 0 ? std::max<int64_t>(0, t - shape.window + 1) : 0;
      std::vector<double> weights;
      double max = -1e300, sum = 0;
      for (int64_t s = first; s <= t; ++s) {
        double dot = 0;
        for (int64_t i = 0; i < d; ++i)
          dot += at(q, t, shape.heads, h, i) * at(k, s, shape.kv_heads, h / group, i);
        weights.push_back(dot * static_cast<double>(shape.scale));
        max = std::max(max, weights.back());
      }
      for (double& weight : weights) sum += weight = std::exp(weight - max);
      for (int64_t i = 0; i < d; ++i) {
        double value = 0;
        for (int64_t s = first; s <= t; ++s) {
          value += weights[static_cast<size_t>(s - first)] / sum *
                   at(v, s, shape.kv_heads, h / group, i);
        }
        out[static_cast<size_t>((t * shape.heads + h) * d + i)] = value;
      }
    }
  }
  return out;
}

struct Case {
  int64_t tokens, heads, kv_heads, head_dim, window;
};
constexpr Case kCases[] = {{1, 1, 1, 2, 0},     {1, 8, 2, 64, 0},    {5, 2, 2, 6, 0},
                           {64, 4, 4, 16, 0},   {65, 4, 2, 8, 0},    {130, 8, 1, 32, 0},
                           {100, 3, 1, 64, 0},  {100, 4, 2, 16, 1},  {100, 4, 2, 16, 7},
                           {200, 2, 1, 24, 64}, {200, 2, 2, 24, 65}, {90, 4, 1, 16, 1000},
                           {1200, 2, 1, 8, 0},  {1200, 2, 1, 8, 100}};

void Check(Backend& backend, const Case& test, ComputeType compute, float spread,
           double tolerance) {
  Random random(static_cast<uint64_t>(test.tokens));
  const AttentionShape shape{
      .tokens = test.tokens,
      .heads = test.heads,
      .kv_heads = test.kv_heads,
      .head_dim = test.head_dim,
      .window = test.window,
      .scale = static_cast<float>(1 / std::sqrt(static_cast<double>(test.head_dim)))};
  const auto q = random.Floats(test.tokens * test.heads * test.head_dim, spread);
  const auto k = random.Floats(test.tokens * test.kv_heads * test.head_dim, spread);
  const auto v = random.Floats(test.tokens * test.kv_heads * test.head_dim);
  std::vector<float> out(q.size(), 1e30F);
  const absl::Status status =
      backend.Attention(q.data(), k.data(), v.data(), shape, compute, out.data());
  if (compute == ComputeType::kBF16 && absl::IsUnavailable(status)) {
    GTEST_SKIP() << backend.name() << " does not multiply bf16 here";
  }
  ASSERT_TRUE(status.ok()) << status;
  const std::vector<double> wanted = Reference(q, k, v, shape);
  for (size_t i = 0; i < out.size(); ++i) {
    ASSERT_NEAR(out[i], wanted[i], tolerance)
        << i << " of " << test.tokens << " tokens, window " << test.window;
  }
}

TEST_P(AttentionTest, F32) {
  for (const Case& test : kCases) Check(backend(), test, ComputeType::kF32, 2.0F, 5e-6);
}

// Scores of some hundreds: the softmax is close to a choice of one.
TEST_P(AttentionTest, F32WithLargeScores) {
  for (const Case& test : kCases) Check(backend(), test, ComputeType::kF32, 30.0F, 5e-4);
}

TEST_P(AttentionTest, Bf16) {
  for (const Case& test : kCases) Check(backend(), test, ComputeType::kBF16, 1.0F, 2e-2);
}

TEST_P(AttentionTest, HeadsThatDoNotDivideAreRefused) {
  const AttentionShape shape{
      .tokens = 1, .heads = 3, .kv_heads = 2, .head_dim = 2, .window = 0, .scale = 1};
  const std::vector<float> x(6);
  std::vector<float> out(6);
  EXPECT_FALSE(
      backend().Attention(x.data(), x.data(), x.data(), shape, ComputeType::kF32, out.data()).ok());
}

}  // namespace
}  // namespace quantd
