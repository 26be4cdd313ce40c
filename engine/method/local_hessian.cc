#include "engine/method/local_hessian.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/error.h"
#include "engine/backend/number_kernels.h"
#include "engine/backend/rules.h"

namespace quantd {
namespace {

constexpr double kDamping = 0.01;
constexpr int kRefits = 2;
constexpr float kMostGrowth = 3.0f;

// Scales tried, as multiples of the one that came in.
constexpr float kFineGrid[] = {0.85f, 0.90f, 0.95f, 1.05f, 1.10f};
constexpr float kCoarseGrid[] = {0.70f, 0.80f, 0.88f, 0.94f, 1.06f, 1.14f, 1.25f};
// Of powers of two only doubling tells.
constexpr float kPowers[] = {0.5f, 2.0f};
std::span<const float> GridOf(const Scheme& scheme) {
  if (scheme.floating()) {
    return scheme.number->scale == ScaleKind::kE8M0 ? std::span<const float>(kPowers) : kCoarseGrid;
  }
  if (scheme.bits <= 3) return kCoarseGrid;
  return kFineGrid;
}

// Candidates of all rows at once, and the best of each row.
class ScaleSearch {
 public:
  ScaleSearch(const GroupOfRows& group, const float* hessian, const Scheme& scheme,
              const MethodContext& context)
      : group_(group), hessian_(hessian), scheme_(scheme), context_(context) {
    const size_t rows = static_cast<size_t>(group.rows);
    scales_.resize(rows);
    zeros_.resize(rows);
    error_.resize(rows);
    along_.resize(rows);
    curve_.resize(rows);
    best_error_.assign(rows, INFINITY);
    best_scale_.resize(rows);
    best_zero_.resize(rows);
    best_refit_.resize(rows);
    steps_.resize(static_cast<size_t>(group.size) * rows);
    product_.resize(steps_.size());
    weight_product_.resize(steps_.size());
  }

  absl::Status Run(float* scales, float* zeros) {
    QD_RETURN_IF_ERROR(Multiply(group_.weights, weight_product_.data()));
    const int neighbours = scheme_.symmetric ? 0 : 1;
    for (int shift = -neighbours; shift <= neighbours; ++shift) {
      QD_RETURN_IF_ERROR(Try(scales, zeros, 1.0f, static_cast<float>(shift)));
      for (const float multiple : GridOf(scheme_)) {
        QD_RETURN_IF_ERROR(Try(scales, zeros, multiple, static_cast<float>(shift)));
      }
    }
    if (scheme_.symmetric && scheme_.bits <= 4 && !scheme_.floating()) {
      QD_RETURN_IF_ERROR(Try(scales, zeros, -1.0f, 0));
      for (const float multiple : GridOf(scheme_)) {
        QD_RETURN_IF_ERROR(Try(scales, zeros, -multiple, 0));
      }
    }
    for (int round = 0; round < kRefits; ++round) {
      scales_ = best_refit_;
      zeros_ = best_zero_;
      QD_RETURN_IF_ERROR(Measure());
    }
    std::copy(best_scale_.begin(), best_scale_.end(), scales);
    std::copy(best_zero_.begin(), best_zero_.end(), zeros);
    return absl::OkStatus();
  }

 private:
  absl::Status Try(const float* scales, const float* zeros, float multiple, float shift) {
    const float low = static_cast<float>(scheme_.qmin()), high = static_cast<float>(scheme_.qmax());
    for (size_t n = 0; n < scales_.size(); ++n) {
      scales_[n] = multiple == 1.0f ? scales[n] : StoredScale(scales[n] * multiple, scheme_);
      zeros_[n] = rules::Clamp(zeros[n] + shift, low, high);
    }
    return Measure();
  }

  // to[size, rows] = H what.
  absl::Status Multiply(const float* what, float* to) {
    return context_.backend.Product({.m = group_.size,
                                     .n = group_.rows,
                                     .k = group_.size,
                                     .lda = group_.size,
                                     .ldb = group_.rows,
                                     .ldc = group_.rows},
                                    hessian_, what, to);
  }

  // The candidate in scales_ and zeros_ of every row: with u the steps it gives and d = w - s u,
  // the error is d.H d, least along u at s + u.H d / u.H u.
  absl::Status Measure() {
    const int64_t rows = group_.rows;
    const rules::Steps steps = rules::StepsOf(scheme_.bits, 0);
    for (int64_t k = 0; k < group_.size; ++k) {
      const float* weight = group_.weights + k * rows;
      float* step = steps_.data() + k * rows;
      if (scheme_.floating()) RoundToLevels(weight, scales_.data(), rows, scheme_, step);
      for (int64_t n = 0; n < rows && !scheme_.floating(); ++n) {
        const size_t at = static_cast<size_t>(n);
        step[n] = rules::StepOf(weight[n], scales_[at],
                                {steps.low - zeros_[at], steps.high - zeros_[at]});
      }
    }
    QD_RETURN_IF_ERROR(Multiply(steps_.data(), product_.data()));
    std::fill(error_.begin(), error_.end(), 0.0f);
    std::fill(along_.begin(), along_.end(), 0.0f);
    std::fill(curve_.begin(), curve_.end(), 0.0f);
    for (int64_t k = 0; k < group_.size; ++k) Sum(k);
    for (size_t n = 0; n < scales_.size(); ++n) Offer(n);
    return absl::OkStatus();
  }

  void Sum(int64_t k) {
    const int64_t rows = group_.rows;
    const float* weight = group_.weights + k * rows;
    const float* step = steps_.data() + k * rows;
    const float* product = product_.data() + k * rows;
    const float* weight_product = weight_product_.data() + k * rows;
    const float* scale = scales_.data();
    float *error = error_.data(), *along = along_.data(), *curve = curve_.data();
    for (int64_t n = 0; n < rows; ++n) {
      const float gradient = weight_product[n] - scale[n] * product[n];
      error[n] += (weight[n] - scale[n] * step[n]) * gradient;
      along[n] += step[n] * gradient;
      curve[n] += step[n] * product[n];
    }
  }

  void Offer(size_t n) {
    if (!(error_[n] < best_error_[n])) return;
    best_error_[n] = error_[n];
    best_scale_[n] = best_refit_[n] = scales_[n];
    best_zero_[n] = zeros_[n];
    if (!(curve_[n] > 0)) return;
    const float refit = scales_[n] + along_[n] / curve_[n];
    if ((refit > 0) != (scales_[n] > 0)) return;
    if (!(rules::Magnitude(refit) < kMostGrowth * rules::Magnitude(scales_[n]))) return;
    best_refit_[n] = StoredScale(refit, scheme_);
  }

  const GroupOfRows& group_;
  const float* hessian_;
  const Scheme& scheme_;
  const MethodContext& context_;
  std::vector<float> scales_, zeros_;         // the candidates at hand
  std::vector<float> error_, along_, curve_;  // d.H d, u.H d, u.H u of theirs
  std::vector<float> best_error_, best_scale_, best_zero_, best_refit_;
  std::vector<float> steps_, product_, weight_product_;  // u, H u, H w: [size, rows]
};

}  // namespace

absl::StatusOr<LocalHessian> LocalHessian::Of(const InputStatistics& statistics, int64_t size,
                                              std::span<const int32_t> channel_at,
                                              const MethodContext& context) {
  const Gram& gram = statistics.gram;
  if (statistics.tokens == 0 || gram.empty() || gram.block % size != 0) {
    return MakeError(Reason::kInternal, "the Gram matrix of the groups' inputs was not gathered");
  }
  const int64_t blocks = statistics.channels() / size;
  LocalHessian local{.size = size, .values = AlignedBuffer<float>(blocks * size * size)};
  const double per_token = 1.0 / static_cast<double>(statistics.tokens);
  QD_RETURN_IF_ERROR(context.pool.ForEach(blocks, [&](int64_t index) -> absl::Status {
    float* block = local.values.data() + index * size * size;
    const auto channel = [&](int64_t k) {
      const int64_t at = index * size + k;
      return channel_at.empty() ? at : int64_t{channel_at[static_cast<size_t>(at)]};
    };
    double sum = 0;
    for (int64_t i = 0; i < size; ++i) {
      for (int64_t j = 0; j < size; ++j) {
        block[i * size + j] =
            static_cast<float>(static_cast<double>(gram.At(channel(i), channel(j))) * per_token);
      }
      sum += static_cast<double>(block[i * size + i]);
    }
    // A group that calibration never saw: all its channels alike.
    const double more = sum > 0 ? kDamping * sum / static_cast<double>(size) : 1.0;
    for (int64_t i = 0; i < size; ++i) block[i * size + i] += static_cast<float>(more);
    return absl::OkStatus();
  }));
  return local;
}

absl::Status ImproveScales(const GroupOfRows& group, const float* hessian, const Scheme& scheme,
                           const MethodContext& context, float* scales, float* zeros) {
  return ScaleSearch(group, hessian, scheme, context).Run(scales, zeros);
}

}  // namespace quantd
