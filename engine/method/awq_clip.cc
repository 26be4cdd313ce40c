#include "engine/method/awq_clip.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/error.h"
#include "engine/method/awq_loss.h"
#include "engine/method/round_to_nearest.h"

namespace quantd {
namespace {

constexpr int kClips = 10;
// Rows whose candidates are multiplied by one block together.
constexpr int64_t kRowsTogether = 32;

float ClipOf(int candidate) { return 1.0F - 0.05F * static_cast<float>(candidate); }

struct PreparedClip : Prepared {
  const Gram* gram = nullptr;  // of statistics that outlive this; null: nothing is searched
};

// One group of each of up to kRowsTogether rows.
class ClipSearch {
 public:
  ClipSearch(const Scheme& scheme, const Gram* gram, const MethodContext& context, int64_t count)
      : scheme_(scheme),
        gram_(gram),
        context_(context),
        count_(count),
        block_(gram == nullptr ? 0 : count * count),
        cut_(count),
        errors_(gram == nullptr ? 0 : kRowsTogether * kClips * count),
        products_(errors_.size()) {
    range_ = scheme;
    range_.scale_rule = ScaleRule::kAbsmax;
  }

  // The index of the best clip of weights[rows][column, column + count), rows `stride` apart.
  absl::Status Choose(const float* weights, int64_t rows, int64_t stride, int64_t column,
                      int* chosen) {
    std::fill_n(chosen, rows, 0);
    if (gram_ == nullptr) return absl::OkStatus();
    gram_->CopyBlock(column, count_, block_.data());
    for (int64_t n = 0; n < rows; ++n) {
      for (int c = 0; c < kClips; ++c) {
        Errors(weights + n * stride + column, c, errors_.data() + (n * kClips + c) * count_);
      }
    }
    QD_RETURN_IF_ERROR(context_.backend.Product(
        {.m = rows * kClips, .n = count_, .k = count_, .lda = count_, .ldb = count_, .ldc = count_},
        errors_.data(), block_.data(), products_.data()));
    for (int64_t n = 0; n < rows; ++n) {
      double least = 0;
      for (int c = 0; c < kClips; ++c) {
        const int64_t at = (n * kClips + c) * count_;
        double loss = 0;
        for (int64_t k = at; k < at + count_; ++k) {
          loss += static_cast<double>(errors_.data()[k]) * static_cast<double>(products_.data()[k]);
        }
        if (c > 0 && !(loss < least)) continue;
        least = loss;
        chosen[n] = c;
      }
    }
    return absl::OkStatus();
  }

  // Codes of one group at that clip, and the energies of the weights as they were.
  void Quantize(const float* weights, int clip, int64_t group, int64_t at_code,
                QuantizedRows* out) {
    const AwqGroup chosen = Cut(weights, clip);
    double ignored[2] = {};
    int8_t* codes = out->codes.data() + at_code;
    context_.kernels.quantize(cut_.data(), count_, chosen.scale, chosen.zero, scheme_.bits, codes,
                              ignored, ignored + 1);
    const auto at = static_cast<size_t>(group);
    out->scales[at] = chosen.scale;
    if (!scheme_.symmetric) out->zeros[at] = chosen.zero;
    for (int64_t k = 0; k < count_; ++k) {
      const double wide = static_cast<double>(weights[k]);
      const double error =
          wide - static_cast<double>(codes[k] - chosen.zero) * static_cast<double>(chosen.scale);
      out->weight_energy += wide * wide;
      out->error_energy += error * error;
    }
  }

 private:
  // The group cut into cut_, and how that is rounded.
  AwqGroup Cut(const float* weights, int clip) {
    float absmax = 0;
    for (int64_t k = 0; k < count_; ++k) absmax = std::max(absmax, std::fabs(weights[k]));
    const float most = absmax * ClipOf(clip);
    for (int64_t k = 0; k < count_; ++k) {
      cut_.data()[k] = std::min(std::max(weights[k], -most), most);
    }
    if (scheme_.options.Flag("reference")) {
      return AwqReferenceGroup(cut_.data(), count_, scheme_);
    }
    AwqGroup group;
    context_.kernels.choose_scale(cut_.data(), nullptr, count_, range_, &group.scale, &group.zero);
    return group;
  }

  void Errors(const float* weights, int clip, float* errors) {
    const AwqGroup group = Cut(weights, clip);
    if (scheme_.options.Flag("reference")) {
      AwqReferenceErrors(cut_.data(), count_, scheme_, context_.kernels, errors);
    } else {
      (void)context_.kernels.rounding_error(cut_.data(), nullptr, count_, group.scale, group.zero,
                                            scheme_.bits, errors);
    }
    for (int64_t k = 0; k < count_; ++k) errors[k] += cut_.data()[k] - weights[k];
  }

  const Scheme& scheme_;
  Scheme range_;
  const Gram* gram_;
  const MethodContext& context_;
  int64_t count_;
  AlignedBuffer<float> block_, cut_, errors_, products_;
};

}  // namespace

StatisticsNeeds AwqClipNeeds(const Scheme& scheme) {
  StatisticsNeeds needs;
  if (!scheme.options.Flag("clip")) return needs;
  const bool groups = scheme.granularity == Granularity::kGroup;
  needs.gram_block = groups ? scheme.group_size : kWholeGram;
  return needs;
}

absl::StatusOr<std::shared_ptr<const Prepared>> PrepareAwqClip(const Scheme& scheme,
                                                               const InputStatistics* statistics,
                                                               const MethodContext& /*context*/) {
  auto prepared = std::make_shared<PreparedClip>();
  if (!scheme.options.Flag("clip") || statistics == nullptr) return prepared;
  if (!statistics->gram.empty()) prepared->gram = &statistics->gram;
  return prepared;
}

absl::Status QuantizeAwqClip(const WeightRows& weight, const Scheme& scheme,
                             const Prepared* prepared, const MethodContext& context,
                             QuantizedRows* out) {
  *out = RoomFor(scheme, weight.rows, weight.columns);
  const Gram* gram = static_cast<const PreparedClip*>(prepared)->gram;
  const int64_t columns = weight.columns, groups = out->groups, count = columns / groups;
  ClipSearch search(scheme, gram, context, count);
  AlignedBuffer<float> rows(kRowsTogether * columns);
  int chosen[kRowsTogether] = {};
  for (int64_t row = 0; row < weight.rows; row += kRowsTogether) {
    const int64_t together = std::min(kRowsTogether, weight.rows - row);
    for (int64_t n = 0; n < together; ++n) {
      QD_RETURN_IF_ERROR(WidenRow(weight, row + n, context.kernels, rows.data() + n * columns));
    }
    for (int64_t g = 0; g < groups; ++g) {
      QD_RETURN_IF_ERROR(search.Choose(rows.data(), together, columns, g * count, chosen));
      for (int64_t n = 0; n < together; ++n) {
        search.Quantize(rows.data() + n * columns + g * count, chosen[n], (row + n) * groups + g,
                        (row + n) * columns + g * count, out);
        if (gram == nullptr || context.kept_ranges == nullptr) continue;
        *context.kept_ranges += static_cast<double>(ClipOf(chosen[n]));
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace quantd
