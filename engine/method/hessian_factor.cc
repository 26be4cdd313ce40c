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
static_assert(LowerPanels::kRows % kBlock == 0);
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

// In-place Cholesky of a matrix of which the lower triangle is read and overwritten.
class Cholesky {
 public:
  Cholesky(LowerPanels& matrix, const MethodContext& context)
      : matrix_(matrix), channels_(matrix.size()), context_(context) {}

  // False when a pivot is not positive.
  absl::StatusOr<bool> Run() {
    for (int64_t begin = 0; begin < channels_; begin += kBlock) {
      const int64_t end = std::min(channels_, begin + kBlock);
      if (!FactorDiagonal(begin, end)) return false;
      if (end == channels_) break;
      QD_RETURN_IF_ERROR(SolveBelow(begin, end));
      QD_RETURN_IF_ERROR(UpdateRest(begin, end));
    }
    return true;
  }

  // L becomes unit: each column is divided by its diagonal element.
  absl::Status MakeUnit() {
    std::vector<float> inverse(static_cast<size_t>(channels_));
    for (int64_t i = 0; i < channels_; ++i) {
      inverse[static_cast<size_t>(i)] = 1.0f / matrix_.Row(i)[i];
    }
    return context_.pool.ForEach(DivideRoundingUp(channels_, kBlock),
                                 [&](int64_t piece) -> absl::Status {
                                   const int64_t last = std::min(channels_, (piece + 1) * kBlock);
                                   for (int64_t i = piece * kBlock; i < last; ++i) {
                                     float* row = matrix_.Row(i);
                                     for (int64_t k = 0; k < i; ++k)
                                       row[k] *= inverse[static_cast<size_t>(k)];
                                   }
                                   matrix_.Release(piece * kBlock);
                                   return absl::OkStatus();
                                 });
  }

 private:
  // Rows of one panel.
  struct Piece {
    int64_t row, rows;
  };

  bool FactorDiagonal(int64_t begin, int64_t end) {
    const int64_t n = end - begin;
    std::vector<double> block(static_cast<size_t>(n * n), 0.0);
    for (int64_t i = 0; i < n; ++i) {
      std::copy_n(matrix_.Row(begin + i) + begin, i + 1, block.data() + i * n);
    }
    if (!FactorBlock(block, n)) return false;
    for (int64_t i = 0; i < n; ++i) {
      float* row = matrix_.Row(begin + i) + begin;
      for (int64_t j = 0; j <= i; ++j) {
        row[j] = static_cast<float>(block[static_cast<size_t>(i * n + j)]);
      }
    }
    inverse_.resize(static_cast<size_t>(n * n));
    InvertBlock(block, n, inverse_.data());
    return true;
  }

  // What is left of the panels below row `end`.
  std::vector<Piece> PiecesFrom(int64_t end) const {
    std::vector<Piece> pieces;
    for (int64_t row = end; row < channels_; row = matrix_.PanelEnd(row)) {
      pieces.push_back({row, matrix_.PanelEnd(row) - row});
    }
    return pieces;
  }

  // The rows below a diagonal block, times the block's inverse transposed.
  absl::Status SolveBelow(int64_t begin, int64_t end) {
    const int64_t n = end - begin;
    const std::vector<Piece> pieces = PiecesFrom(end);
    return context_.pool.ForEach(
        static_cast<int64_t>(pieces.size()), [&](int64_t index) -> absl::Status {
          const auto [row, rows] = pieces[static_cast<size_t>(index)];
          std::vector<float> copy(static_cast<size_t>(rows * n));
          for (int64_t i = 0; i < rows; ++i) {
            std::copy_n(matrix_.Row(row + i) + begin, n, copy.data() + i * n);
          }
          return context_.backend.Product({.m = rows,
                                           .n = n,
                                           .k = n,
                                           .lda = n,
                                           .ldb = n,
                                           .ldc = matrix_.Stride(row),
                                           .transpose_b = true},
                                          copy.data(), inverse_.data(), matrix_.Row(row) + begin);
        });
  }

  // The lower triangle after the block, less the rows below it times themselves, tile by tile.
  absl::Status UpdateRest(int64_t begin, int64_t end) {
    const std::vector<Piece> pieces = PiecesFrom(end);
    const int64_t side = static_cast<int64_t>(pieces.size());
    return context_.pool.ForEach(side * (side + 1) / 2, [&](int64_t tile) -> absl::Status {
      int64_t tile_row = 0;
      while ((tile_row + 1) * (tile_row + 2) / 2 <= tile) ++tile_row;
      const int64_t tile_column = tile - tile_row * (tile_row + 1) / 2;
      const Piece below = pieces[static_cast<size_t>(tile_row)];
      const Piece right = pieces[static_cast<size_t>(tile_column)];
      QD_RETURN_IF_ERROR(context_.backend.Product({.m = below.rows,
                                                   .n = right.rows,
                                                   .k = end - begin,
                                                   .lda = matrix_.Stride(below.row),
                                                   .ldb = matrix_.Stride(right.row),
                                                   .ldc = matrix_.Stride(below.row),
                                                   .transpose_b = true,
                                                   .alpha = -1,
                                                   .beta = 1},
                                                  matrix_.Row(below.row) + begin,
                                                  matrix_.Row(right.row) + begin,
                                                  matrix_.Row(below.row) + right.row));
      matrix_.Release(below.row);
      matrix_.Release(right.row);
      return absl::OkStatus();
    });
  }

  LowerPanels& matrix_;
  int64_t channels_;
  const MethodContext& context_;
  std::vector<float> inverse_;  // of the diagonal block at hand
};

}  // namespace

absl::StatusOr<HessianFactor> Factor(DampedHessian hessian, std::span<const int32_t> channel_at,
                                     const MethodContext& context) {
  const int64_t channels = hessian.channels;
  HessianFactor factor;
  QD_ASSIGN_OR_RETURN(factor.lower, LowerPanels::Make(channels, context.scratch_folder));
  for (int attempt = 0; attempt < kTries; ++attempt) {
    QD_RETURN_IF_ERROR(context.pool.ForEach(
        DivideRoundingUp(channels, kBlock), [&](int64_t piece) -> absl::Status {
          const int64_t last = std::min(channels, (piece + 1) * kBlock);
          for (int64_t p = piece * kBlock; p < last; ++p) {
            hessian.CopyRow(channel_at, p, factor.lower.Row(p));
          }
          factor.lower.Release(piece * kBlock);
          for (int64_t row = 0; row < channels; row = hessian.gram->PanelEnd(row)) {
            hessian.gram->Release(row);  // a row in the order of positions is read from all of them
          }
          return absl::OkStatus();
        }));
    Cholesky cholesky(factor.lower, context);
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

absl::StatusOr<AlignedBuffer<float>> InverseBlocks(const LowerPanels& lower, int64_t size,
                                                   const MethodContext& context) {
  AlignedBuffer<float> inverses(lower.size() * size);
  QD_RETURN_IF_ERROR(context.pool.ForEach(lower.size() / size, [&](int64_t index) -> absl::Status {
    const int64_t begin = index * size;
    std::vector<double> block(static_cast<size_t>(size * size), 0.0);
    for (int64_t i = 0; i < size; ++i) {
      std::copy_n(lower.Row(begin + i) + begin, i, block.data() + i * size);
      block[static_cast<size_t>(i * size + i)] = 1.0;
    }
    InvertBlock(block, size, inverses.data() + begin * size);
    return absl::OkStatus();
  }));
  return inverses;
}

}  // namespace quantd
