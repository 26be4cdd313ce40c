#include "engine/evaluate/evaluation.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace quantd {
namespace {

constexpr int64_t kTile = 128;  // positions whose logits are in memory at once

AlignedBuffer<float>& Grown(AlignedBuffer<float>& buffer, int64_t count) {
  if (buffer.size() < count) {
    buffer = {};
    buffer = AlignedBuffer<float>(count);
  }
  return buffer;
}

// Nearest rank: the smallest value that at least 99 % of the values do not exceed.
double Percentile99(std::vector<double> values) {
  const auto rank = static_cast<int64_t>(std::ceil(0.99 * static_cast<double>(values.size())));
  const auto at = values.begin() + std::max<int64_t>(rank, 1) - 1;
  std::nth_element(values.begin(), at, values.end());
  return *at;
}

}  // namespace

absl::Status Evaluation::Record(int64_t window, std::span<const int32_t> ids,
                                const float* x_original, const float* x_quantized,
                                const Head& original_head, const Head& quantized_head,
                                Backend& backend, int64_t vocabulary) {
  const int64_t hidden = original_head.hidden();
  const int64_t positions = static_cast<int64_t>(ids.size()) - 1;
  std::vector<TokenScores>& scores = scores_[static_cast<size_t>(window)];
  scores.assign(static_cast<size_t>(std::max<int64_t>(positions, 0)), {});
  for (const int32_t id : ids) {
    if (id < 0 || id >= vocabulary) {
      return MakeError(
          Reason::kDatasetInvalid, "a token that the model does not have",
          Violation{"tokens", std::to_string(id), "0 to " + std::to_string(vocabulary - 1)});
    }
  }
  thread_local AlignedBuffer<float> original, quantized;
  for (int64_t begin = 0; begin < positions; begin += kTile) {
    const int64_t count = std::min(kTile, positions - begin);
    float* p = Grown(original, kTile * vocabulary).data();
    float* q = Grown(quantized, kTile * vocabulary).data();
    QD_RETURN_IF_ERROR(original_head.Logits(x_original + begin * hidden, count, p));
    QD_RETURN_IF_ERROR(quantized_head.Logits(x_quantized + begin * hidden, count, q));
    backend.Score(p, q, ids.data() + begin + 1, count, vocabulary, scores.data() + begin);
  }
  return absl::OkStatus();
}

EvaluationResult Evaluation::Finish() const {
  EvaluationResult result;
  double nll_original = 0, nll_quantized = 0, kl_sum = 0, same = 0;
  std::vector<double> divergences;
  for (const std::vector<TokenScores>& window : scores_) {
    for (const TokenScores& token : window) {
      nll_original += token.nll_original;
      nll_quantized += token.nll_quantized;
      kl_sum += token.kl;
      same += token.same_top1 ? 1 : 0;
      divergences.push_back(token.kl);
      result.kl_histogram.Add(token.kl);
    }
  }
  result.tokens = static_cast<int64_t>(divergences.size());
  if (result.tokens == 0) return result;
  const auto tokens = static_cast<double>(result.tokens);
  result.perplexity_original = std::exp(nll_original / tokens);
  result.perplexity_quantized = std::exp(nll_quantized / tokens);
  result.kl_mean = kl_sum / tokens;
  result.kl_p99 = Percentile99(std::move(divergences));
  result.top1_agreement = same / tokens;
  return result;
}

}  // namespace quantd
