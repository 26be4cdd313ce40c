// A mixture of experts: the router's softmax, the experts that each token chose, their sum.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/error.h"
#include "engine/model/block_run.h"

namespace quantd {
namespace {

// The tokens that chose one expert, in order, and what its output is multiplied by.
struct Routed {
  std::vector<int32_t> tokens;
  std::vector<float> weights;
};

// The largest come first; equal ones in the order of the experts.
void RouteToken(const MixtureSpec& mixture, const float* scores, int32_t token,
                std::vector<Routed>& experts) {
  const auto count = static_cast<size_t>(mixture.experts);
  const auto chosen = static_cast<size_t>(mixture.top_k);
  std::vector<int> order(count);
  std::iota(order.begin(), order.end(), 0);
  std::partial_sort(order.begin(), order.begin() + mixture.top_k, order.end(), [&](int a, int b) {
    return scores[a] != scores[b] ? scores[a] > scores[b] : a < b;
  });
  double all = 0, taken = 0;
  std::vector<double> powers(count);
  for (size_t i = 0; i < count; ++i) {
    powers[i] = std::exp(static_cast<double>(scores[order[i]]) -
                         static_cast<double>(scores[order.front()]));
    all += powers[i];
    if (i < chosen) taken += powers[i];
  }
  for (size_t i = 0; i < chosen; ++i) {
    Routed& expert = experts[static_cast<size_t>(order[i])];
    expert.tokens.push_back(token);
    expert.weights.push_back(static_cast<float>(powers[i] / (mixture.normalized ? taken : all)));
  }
}

}  // namespace

absl::Status RunMixture(BlockRun& run, const MixtureSpec& mixture, const float* normed,
                        float* out) {
  const int64_t width = run.model.hidden;
  float* scores = run.buffers.Get(BlockBuffers::kScores, run.tokens * mixture.experts);
  QD_RETURN_IF_ERROR(run.Linear(LinearRole::kRouter, -1, normed, run.tokens, scores));
  std::vector<Routed> experts(static_cast<size_t>(mixture.experts));
  for (int64_t t = 0; t < run.tokens; ++t) {
    RouteToken(mixture, scores + t * mixture.experts, static_cast<int32_t>(t), experts);
  }
  std::fill_n(out, run.tokens * width, 0.0F);
  for (int expert = 0; expert < mixture.experts; ++expert) {
    const Routed& routed = experts[static_cast<size_t>(expert)];
    const auto rows = static_cast<int64_t>(routed.tokens.size());
    float* x = run.buffers.Get(BlockBuffers::kRouted, rows * width);
    float* y = run.buffers.Get(BlockBuffers::kRoutedOut, rows * width);
    run.backend.GatherRows(normed, routed.tokens, width, x);
    QD_RETURN_IF_ERROR(RunMlp(run, expert, x, rows, y));
    run.backend.ScatterAddRows(y, routed.tokens, routed.weights.data(), width, out);
  }
  return absl::OkStatus();
}

}  // namespace quantd
