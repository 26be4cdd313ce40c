#include "engine/method/damped_hessian.h"

#include <algorithm>

#include "base/error.h"

namespace quantd {

absl::StatusOr<DampedHessian> DampedHessian::Of(const InputStatistics& statistics, double damping) {
  DampedHessian hessian;
  hessian.channels = statistics.channels();
  if (statistics.tokens == 0 || !statistics.gram.whole()) {
    return MakeError(Reason::kInternal, "the Gram matrix of the inputs was not gathered");
  }
  hessian.gram = &statistics.gram.lower;
  hessian.per_token = 1.0 / static_cast<double>(statistics.tokens);
  hessian.damping = damping;
  hessian.diagonal.resize(static_cast<size_t>(hessian.channels));
  double sum = 0;
  int64_t seen = 0;
  for (int64_t k = 0; k < hessian.channels; ++k) {
    const double value = static_cast<double>(statistics.gram.At(k, k)) * hessian.per_token;
    hessian.diagonal[static_cast<size_t>(k)] = static_cast<float>(value);
    sum += value;
    seen += value > 0 ? 1 : 0;
  }
  if (seen > 0) hessian.mean = sum / static_cast<double>(seen);
  return hessian;
}

float DampedHessian::Added(int64_t channel) const {
  const bool seen = diagonal[static_cast<size_t>(channel)] > 0;
  return static_cast<float>((seen ? 0 : mean) + damping * mean);
}

float DampedHessian::At(int64_t i, int64_t j) const {
  const float product = gram->At(i, j) * static_cast<float>(per_token);
  return i == j ? product + Added(i) : product;
}

void DampedHessian::CopyRow(std::span<const int32_t> channel_at, int64_t position,
                            float* to) const {
  const int64_t channel = channel_at[static_cast<size_t>(position)];
  const float scale = static_cast<float>(per_token);
  for (int64_t p = 0; p < position; ++p) {
    to[p] = gram->At(channel, channel_at[static_cast<size_t>(p)]) * scale;
  }
  to[position] = At(channel, channel);
}

absl::StatusOr<LowerPanels> DampedHessian::GramInOrder(std::span<const int32_t> channel_at,
                                                       const MethodContext& context) const {
  QD_ASSIGN_OR_RETURN(LowerPanels ordered, LowerPanels::Make(channels, context.scratch_folder));
  QD_RETURN_IF_ERROR(context.pool.ForEach(channels, [&](int64_t row) -> absl::Status {
    const int64_t channel = channel_at[static_cast<size_t>(row)];
    for (int64_t p = 0; p < ordered.Stride(row); ++p) {
      ordered.Row(row)[p] = gram->At(channel, channel_at[static_cast<size_t>(p)]);
    }
    return absl::OkStatus();
  }));
  return ordered;
}

DampedHessian DampedHessian::InOrder(std::span<const int32_t> channel_at,
                                     const LowerPanels& ordered) const {
  DampedHessian turned = *this;
  turned.gram = &ordered;
  for (size_t p = 0; p < channel_at.size(); ++p) {
    turned.diagonal[p] = diagonal[static_cast<size_t>(channel_at[p])];
  }
  return turned;
}

absl::Status DampedHessian::Multiply(int64_t begin, int64_t count, Rows right, int64_t width,
                                     float alpha, float beta, const MethodContext& context,
                                     float* to) const {
  const int64_t last = right.first + right.count;
  // Rows [row, row + rows) of H against channels [from, end), which lie in one panel.
  const auto add = [&](int64_t row, int64_t rows, int64_t from, int64_t end, float keep) {
    const bool mirrored = from >= gram->PanelEnd(row);
    return context.backend.Product({.m = rows,
                                    .n = width,
                                    .k = end - from,
                                    .lda = gram->Stride(mirrored ? from : row),
                                    .ldb = width,
                                    .ldc = width,
                                    .transpose_a = mirrored,
                                    .alpha = alpha * static_cast<float>(per_token),
                                    .beta = keep},
                                   mirrored ? gram->Row(from) + row : gram->Row(row) + from,
                                   right.values + (from - right.first) * width,
                                   to + (row - begin) * width);
  };
  for (int64_t row = begin; row < begin + count; row = gram->PanelEnd(row)) {
    const int64_t rows = std::min(gram->PanelEnd(row), begin + count) - row;
    float keep = beta;
    for (int64_t from = right.first; from < last;) {
      const int64_t end = std::min(last, gram->PanelEnd(std::max(from, row)));
      QD_RETURN_IF_ERROR(add(row, rows, from, end, keep));
      if (from >= gram->PanelEnd(row)) gram->Release(from);
      keep = 1;
      from = end;
    }
    gram->Release(row);
  }
  for (int64_t i = std::max(begin, right.first); i < std::min(begin + count, last); ++i) {
    const float factor = alpha * Added(i);
    const float* from = right.values + (i - right.first) * width;
    float* sum = to + (i - begin) * width;
    for (int64_t n = 0; n < width; ++n) sum[n] += factor * from[n];
  }
  return absl::OkStatus();
}

}  // namespace quantd
