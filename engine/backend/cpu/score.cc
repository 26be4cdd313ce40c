#include "engine/backend/cpu/score.h"

#include <algorithm>
#include <cmath>

#include "engine/backend/cpu/row_ops.h"

namespace quantd {

TokenScores ScoreRow(const float* original, const float* quantized, int32_t next,
                     int64_t vocabulary) {
  const RowOps& ops = CpuRowOps();
  const RowSum p = ops.sum_exp(original, vocabulary), q = ops.sum_exp(quantized, vocabulary);
  const double max_p = p.max, max_q = q.max;
  // log P = a - max_p - log(sum_p), so KL = E_P[a - b] - (max_p - max_q) - log(sum_p / sum_q).
  const double mean_difference =
      ops.weighted_difference(original, quantized, p.max, vocabulary) / p.sum;
  const double kl = mean_difference - (max_p - max_q) - std::log(p.sum / q.sum);
  const auto first = [vocabulary](const float* row, float max) {
    return std::find(row, row + vocabulary, max) - row;
  };
  return {.nll_original = max_p + std::log(p.sum) - static_cast<double>(original[next]),
          .nll_quantized = max_q + std::log(q.sum) - static_cast<double>(quantized[next]),
          .kl = std::max(kl, 0.0),  // rounding may leave it a little below
          .same_top1 = first(original, p.max) == first(quantized, q.max)};
}

}  // namespace quantd
