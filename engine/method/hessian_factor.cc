#include "engine/method/hessian_factor.h"

#include <algorithm>
#include <atomic>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "base/checked.h"
#include "base/error.h"

namespace quantd {
namespace {

constexpr int64_t kBlock = 128;
constexpr int64_t kTile = 512;
constexpr int kTries = 4;

// Cholesky of a lower-triangular block [n, n] in place; false when a pivot is not positive.
bool FactorBlock(std::vector<double>& block, int64_t n) {
  for (int64_t j = 0; j < n; ++j) {
    double* row_j = block.data() + j * n;
    for (int64_t i = j; i < n; ++i) {
      double* row_i = block.data() + i * n;
      double sum = row_i[j];
      for (int64_t k = 0; k < j; ++k) sum -= row_i[k] * row_j[k];
      if (i == j) {
        if (!(sum > 0) || !std::isfinite(sum)) return false;
        row_j[j] = std::sqrt(sum);
      } else {
        row_i[j] = sum / row_j[j];
      }
    }
  }
  return true;
}

// The inverse of a lower-triangular block, zeros above its diagonal, to[n, n].
void InvertBlock(const std::vector<double>& block, int64_t n, float* to) {
  std::vector<double> inverse(static_cast<size_t>(n * n), 0.0);
  for (int64_t i = 0; i < n; ++i) {
    const double* row = block.data() + i * n;
    double* result = inverse.data() + i * n;
    for (int64_t k = 0; k < i; ++k) {
      const double factor = row[k];
      const double* above = inverse.data() + k * n;
      for (int64_t j = 0; j <= k; ++j) result[j] -= factor * above[j];
    }
    result[i] = 1.0;
    for (int64_t j = 0; j <= i; ++j) result[j] /= row[i];
  }
  for (int64_t i = 0; i < n * n; ++i) to[i] = static_cast<float>(inverse[static_cast<size_t>(i)]);
}

// In-place Cholesky of matrix[K, K], of which the lower triangle is read and overwritten.
class Cholesky {
 public:
  Cholesky(float* matrix, int64_t channels, const MethodContext& context)
      : matrix_(matrix), channels_(channels), context_(context) {}

  // False when a pivot is not positive.
  absl::StatusOr<bool> Run() {
    for (int64_t begin = 0; begin < channels_; begin += kBlock) {
      const int64_t end = std::min(channels_, begin + kBlock);
      if (!FactorDiagonal(begin, end)) return false;
      if (end == channels_) break;
      QD_RETURN_IF_ERROR(SolvePanel(begin, end));
      QD_RETURN_IF_ERROR(UpdateRest(begin, end));
    }
    return true;
  }

  // L becomes unit: each column is divided by its diagonal element.
  absl::Status MakeUnit() {
    std::vector<float> inverse(static_cast<size_t>(channels_));
    for (int64_t i = 0; i < channels_; ++i) {
      inverse[static_cast<size_t>(i)] = 1.0f / matrix_[i * channels_ + i];
    }
    return context_.pool.ForEach(DivideRoundingUp(channels_, kBlock),
                                 [&](int64_t piece) -> absl::Status {
                                   const int64_t last = std::min(channels_, (piece + 1) * kBlock);
                                   for (int64_t i = piece * kBlock; i < last; ++i) {
                                     float* row = matrix_ + i * channels_;
                                     for (int64_t k = 0; k < i; ++k)
                                       row[k] *= inverse[static_cast<size_t>(k)];
                                   }
                                   return absl::OkStatus();
                                 });
  }

 private:
  float* At(int64_t row, int64_t column) { return matrix_ + row * channels_ + column; }

  bool FactorDiagonal(int64_t begin, int64_t end) {
    const int64_t n = end - begin;
    std::vector<double> block(static_cast<size_t>(n * n), 0.0);
    for (int64_t i = 0; i < n; ++i) {
      std::copy_n(At(begin + i, begin), i + 1, block.data() + i * n);
    }
    if (!FactorBlock(block, n)) return false;
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t j = 0; j <= i; ++j) {
        *At(begin + i, begin + j) = static_cast<float>(block[static_cast<size_t>(i * n + j)]);
      }
    }
    inverse_.resize(static_cast<size_t>(n * n));
    InvertBlock(block, n, inverse_.data());
    return true;
  }

  // The rows below a diagonal block, times the block's inverse transposed.
  absl::Status SolvePanel(int64_t begin, int64_t end) {
    const int64_t n = end - begin;
    return context_.pool.ForEach(
        DivideRoundingUp(channels_ - end, kTile), [&](int64_t tile) -> absl::Status {
          const int64_t row = end + tile * kTile;
          const int64_t rows = std::min(kTile, channels_ - row);
          std::vector<float> copy(static_cast<size_t>(rows * n));
          for (int64_t i = 0; i < rows; ++i) {
            std::copy_n(At(row + i, begin), n, copy.data() + i * n);
          }
          return context_.backend.Product({.m = rows,
                                           .n = n,
                                           .k = n,
                                           .lda = n,
                                           .ldb = n,
                                           .ldc = channels_,
                                           .transpose_b = true},
                                          copy.data(), inverse_.data(), At(row, begin));
        });
  }

  // The lower triangle after the panel, less the panel times itself, tile by tile.
  absl::Status UpdateRest(int64_t begin, int64_t end) {
    const int64_t side = DivideRoundingUp(channels_ - end, kTile);
    return context_.pool.ForEach(side * (side + 1) / 2, [&](int64_t piece) -> absl::Status {
      int64_t tile_row = 0;
      while ((tile_row + 1) * (tile_row + 2) / 2 <= piece) ++tile_row;
      const int64_t tile_column = piece - tile_row * (tile_row + 1) / 2;
      const int64_t row = end + tile_row * kTile, column = end + tile_column * kTile;
      return context_.backend.Product({.m = std::min(kTile, channels_ - row),
                                       .n = std::min(kTile, channels_ - column),
                                       .k = end - begin,
                                       .lda = channels_,
                                       .ldb = channels_,
                                       .ldc = channels_,
                                       .transpose_b = true,
                                       .alpha = -1,
                                       .beta = 1},
                                      At(row, begin), At(column, begin), At(row, column));
    });
  }

  float* matrix_;
  int64_t channels_;
  const MethodContext& context_;
  std::vector<float> inverse_;  // of the diagonal block at hand
};

}  // namespace

absl::StatusOr<DampedHessian> DampedHessian::Of(const InputStatistics& statistics, double damping) {
  DampedHessian hessian;
  hessian.channels = statistics.channels();
  if (statistics.tokens == 0 || !statistics.gram.whole()) {
    return MakeError(Reason::kInternal, "the Gram matrix of the inputs was not gathered");
  }
  hessian.gram = &statistics.gram;
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

void DampedHessian::CopyRow(std::span<const int32_t> channel_at, int64_t position,
                            float* to) const {
  const int64_t channel = channel_at[static_cast<size_t>(position)];
  const float* row = gram->values.data() + channel * channels;
  const float scale = static_cast<float>(per_token);
  for (int64_t p = 0; p < channels; ++p) to[p] = row[channel_at[static_cast<size_t>(p)]] * scale;
  const double own = diagonal[static_cast<size_t>(channel)];
  to[position] = static_cast<float>((own > 0 ? own : mean) + damping * mean);
}

absl::StatusOr<HessianFactor> Factor(DampedHessian hessian, std::span<const int32_t> channel_at,
                                     const MethodContext& context) {
  const int64_t channels = hessian.channels;
  HessianFactor factor{.lower = AlignedBuffer<float>(channels * channels), .damping = 0};
  float* lower = factor.lower.data();
  for (int attempt = 0; attempt < kTries; ++attempt) {
    QD_RETURN_IF_ERROR(context.pool.ForEach(
        DivideRoundingUp(channels, kBlock), [&](int64_t piece) -> absl::Status {
          const int64_t last = std::min(channels, (piece + 1) * kBlock);
          for (int64_t p = piece * kBlock; p < last; ++p) {
            hessian.CopyRow(channel_at, p, lower + p * channels);
          }
          return absl::OkStatus();
        }));
    Cholesky cholesky(lower, channels, context);
    QD_ASSIGN_OR_RETURN(const bool done, cholesky.Run());
    if (done) {
      QD_RETURN_IF_ERROR(cholesky.MakeUnit());
      factor.damping = hessian.damping;
      return factor;
    }
    if (attempt + 1 < kTries) hessian.damping = std::max(hessian.damping * 10, 1e-4);
  }
  return MakeError(
      Reason::kDatasetInvalid, "the Hessian of a linear's inputs is not positive definite",
      {.where = "calibration",
       .got = absl::StrCat("a pivot that is not positive with damping ", hessian.damping),
       .wanted = "more calibration tokens, or a larger option damping"});
}

absl::StatusOr<AlignedBuffer<float>> InverseBlocks(const float* lower, int64_t channels,
                                                   int64_t size, const MethodContext& context) {
  AlignedBuffer<float> inverses(channels * size);
  QD_RETURN_IF_ERROR(context.pool.ForEach(channels / size, [&](int64_t index) -> absl::Status {
    const int64_t begin = index * size;
    std::vector<double> block(static_cast<size_t>(size * size), 0.0);
    for (int64_t i = 0; i < size; ++i) {
      const float* row = lower + (begin + i) * channels + begin;
      std::copy_n(row, i, block.data() + i * size);
      block[static_cast<size_t>(i * size + i)] = 1.0;
    }
    InvertBlock(block, size, inverses.data() + begin * size);
    return absl::OkStatus();
  }));
  return inverses;
}

}  // namespace quantd
