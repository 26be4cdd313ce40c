#include <cmath>
#include <vector>

#include "engine/backend/backend.h"
#include "gtest/gtest.h"
#include "tests/engine/backend/every_backend.h"
#include "tests/engine/backend/random_values.h"

namespace quantd {
namespace {

class ScoreTest : public EveryBackend {};
QD_EVERY_BACKEND(ScoreTest);

std::vector<double> LogSoftmax(const std::vector<float>& logits) {
  long double sum = 0;
  for (const float x : logits) sum += std::exp(static_cast<long double>(x));
  std::vector<double> out;
  for (const float x : logits)
    out.push_back(static_cast<double>(static_cast<long double>(x) - std::log(sum)));
  return out;
}

TokenScores Score(Backend& backend, const std::vector<float>& p, const std::vector<float>& q,
                  int32_t next) {
  TokenScores scores{};
  backend.Score(p.data(), q.data(), &next, 1, static_cast<int64_t>(p.size()), &scores);
  return scores;
}

TEST_P(ScoreTest, EqualsTheDefinition) {
  for (const int64_t vocabulary : {1, 2, 17, 512, 5000}) {
    for (const float noise : {1e-3F, 0.1F, 3.0F}) {
      Random random(static_cast<uint64_t>(vocabulary));
      const std::vector<float> p = random.Floats(vocabulary, 9.0F);
      std::vector<float> q = p;
      for (float& x : q) x += random.Symmetric(noise) + 2.0F;  // a shift changes nothing
      const auto next = static_cast<int32_t>(random.Below(vocabulary));
      const std::vector<double> log_p = LogSoftmax(p), log_q = LogSoftmax(q);
      double kl = 0;
      for (size_t i = 0; i < log_p.size(); ++i) kl += std::exp(log_p[i]) * (log_p[i] - log_q[i]);
      const TokenScores scores = Score(backend(), p, q, next);
      EXPECT_NEAR(scores.nll_original, -log_p[static_cast<size_t>(next)], 1e-6);
      EXPECT_NEAR(scores.nll_quantized, -log_q[static_cast<size_t>(next)], 1e-6);
      EXPECT_NEAR(scores.kl, kl, 2e-7 + 1e-6 * kl);
    }
  }
}

TEST_P(ScoreTest, TheSameLogitsHaveNoDivergence) {
  Random random(5);
  const std::vector<float> p = random.Floats(1000, 20.0F);
  const TokenScores scores = Score(backend(), p, p, 3);
  EXPECT_EQ(scores.kl, 0.0);
  EXPECT_EQ(scores.nll_original, scores.nll_quantized);
  EXPECT_TRUE(scores.same_top1);
}

TEST_P(ScoreTest, Top1GoesToTheLowestIndexOfATie) {
  EXPECT_TRUE(Score(backend(), {1, 5, 5, 0}, {0, 9, 1, 9}, 0).same_top1);
  EXPECT_FALSE(Score(backend(), {5, 5, 1, 0}, {0, 9, 1, 9}, 0).same_top1);
}

TEST_P(ScoreTest, LogitsFarApartStayFinite) {
  const TokenScores scores = Score(backend(), {0, -1000, 3000}, {3000, 0, -1000}, 0);
  EXPECT_NEAR(scores.nll_original, 3000, 1e-9);
  EXPECT_NEAR(scores.nll_quantized, 0, 1e-9);
  EXPECT_NEAR(scores.kl, 4000, 1e-3);
}

}  // namespace
}  // namespace quantd
