// A mixture of experts: the router's scores, the experts that each token chose, their sum, and the
// expert that all tokens share.
#include <algorithm>
#include <cmath>
#include <limits>
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

// What each expert is chosen by, and what its output is multiplied by where it is.
struct Scores {
  std::vector<double> choice, weight;
};

Scores ScoresOf(const MixtureSpec& mixture, const float* logits, const float* correction) {
  const auto count = static_cast<size_t>(mixture.experts);
  Scores scores;
  const double largest = static_cast<double>(*std::max_element(logits, logits + count));
  for (size_t i = 0; i < count; ++i) {
    const auto logit = static_cast<double>(logits[i]);
    const bool sigmoid = mixture.scores == MixtureSpec::Scores::kSigmoid;
    scores.weight.push_back(sigmoid ? 1 / (1 + std::exp(-logit)) : std::exp(logit - largest));
    // The softmax keeps the order of the logits.
    scores.choice.push_back(sigmoid ? scores.weight[i] : logit);
    if (correction != nullptr) scores.choice[i] += static_cast<double>(correction[i]);
  }
  return scores;
}

// The `count` largest of `values`, the largest first; equal ones in their order.
std::vector<size_t> Largest(const std::vector<double>& values, int count) {
  std::vector<size_t> order(values.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::partial_sort(order.begin(), order.begin() + count, order.end(), [&](size_t a, size_t b) {
    return values[a] != values[b] ? values[a] > values[b] : a < b;
  });
  order.resize(static_cast<size_t>(count));
  return order;
}

// Experts outside the best groups are never chosen.
void LeaveOutGroups(const MixtureSpec& mixture, std::vector<double>& choice) {
  if (mixture.groups == 1) return;
  const int size = mixture.experts / mixture.groups;
  std::vector<double> sums;
  for (int group = 0; group < mixture.groups; ++group) {
    const auto first = choice.begin() + group * size;
    const std::vector<double> of_group(first, first + size);
    double sum = 0;
    for (const size_t i : Largest(of_group, std::min(mixture.group_best, size))) sum += of_group[i];
    sums.push_back(sum);
  }
  const std::vector<size_t> best = Largest(sums, mixture.top_groups);
  for (int group = 0; group < mixture.groups; ++group) {
    if (std::find(best.begin(), best.end(), static_cast<size_t>(group)) != best.end()) continue;
    std::fill_n(choice.begin() + group * size, size, -std::numeric_limits<double>::infinity());
  }
}

void RouteToken(const MixtureSpec& mixture, const float* logits, const float* correction,
                int32_t token, std::vector<Routed>& experts) {
  Scores scores = ScoresOf(mixture, logits, correction);
  LeaveOutGroups(mixture, scores.choice);
  const std::vector<size_t> chosen = Largest(scores.choice, mixture.top_k);
  double taken = 0;
  for (const size_t i : chosen) taken += scores.weight[i];
  double whole = mixture.normalized ? taken : 1;
  if (!mixture.normalized && mixture.scores == MixtureSpec::Scores::kSoftmax) {
    whole = std::accumulate(scores.weight.begin(), scores.weight.end(), 0.0);
  }
  for (const size_t i : chosen) {
    experts[i].tokens.push_back(token);
    experts[i].weights.push_back(static_cast<float>(mixture.scale * scores.weight[i] / whole));
  }
}

// out[T, D] += the expert that sees every token, by its gate.
absl::Status AddShared(BlockRun& run, const float* normed, float* out) {
  const int64_t width = run.model.hidden;
  float* y = run.buffers.Get(BlockBuffers::kRoutedOut, run.tokens * width);
  QD_RETURN_IF_ERROR(RunMlp(run, -1, normed, run.tokens, y));
  if (run.Has(LinearRole::kSharedGate)) {
    float* gate = run.buffers.Get(BlockBuffers::kScores, run.tokens);
    QD_RETURN_IF_ERROR(run.Linear(LinearRole::kSharedGate, -1, normed, run.tokens, gate));
    for (int64_t t = 0; t < run.tokens; ++t) {
      const float share = 1.0F / (1.0F + std::exp(-gate[t]));
      for (int64_t i = 0; i < width; ++i) y[t * width + i] *= share;
    }
  }
  run.backend.Add(out, y, run.tokens * width);
  return absl::OkStatus();
}

}  // namespace

absl::Status RunMixture(BlockRun& run, const MixtureSpec& mixture, const float* normed,
                        float* out) {
  const int64_t width = run.model.hidden;
  float* scores = run.buffers.Get(BlockBuffers::kScores, run.tokens * mixture.experts);
  QD_RETURN_IF_ERROR(run.Linear(LinearRole::kRouter, -1, normed, run.tokens, scores));
  const float* correction =
      run.weights.correction != nullptr ? run.weights.correction->data() : nullptr;
  std::vector<Routed> experts(static_cast<size_t>(mixture.experts));
  for (int64_t t = 0; t < run.tokens; ++t) {
    RouteToken(mixture, scores + t * mixture.experts, correction, static_cast<int32_t>(t), experts);
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
  return run.Has(LinearRole::kDown) ? AddShared(run, normed, out) : absl::OkStatus();
}

}  // namespace quantd
