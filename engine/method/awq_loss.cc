#include "engine/method/awq_loss.h"

#include <algorithm>

#include "base/error.h"
#include "engine/backend/number_kernels.h"
#include "engine/backend/rules.h"
#include "engine/method/block_rounding.h"

namespace quantd {
namespace {

// The sum of a_i b_i, in f64, in a fixed order that vector units like.
double Dot(const float* a, const float* b, int64_t count) {
  double sums[8] = {};
  int64_t i = 0;
  for (; i + 8 <= count; i += 8) {
    for (int64_t j = 0; j < 8; ++j) {
      sums[j] += static_cast<double>(a[i + j]) * static_cast<double>(b[i + j]);
    }
  }
  for (; i < count; ++i) sums[0] += static_cast<double>(a[i]) * static_cast<double>(b[i]);
  return ((sums[0] + sums[4]) + (sums[1] + sums[5])) + ((sums[2] + sums[6]) + (sums[3] + sums[7]));
}

Scheme SearchScheme(const Scheme& scheme, const AwqSearchSettings& settings) {
  Scheme search = scheme;
  if (!settings.search_by_rule) search.scale_rule = ScaleRule::kAbsmax;
  if (search.scale_rule == ScaleRule::kHessian) search.scale_rule = ScaleRule::kWeightedMse;
  return search;
}

}  // namespace

bool SharesScales(const TransformRequest& request) {
  if (request.shared.empty()) return false;
  return *std::max_element(request.shared.begin(), request.shared.end()) + 1 <
         request.statistics->channels();
}

int64_t AwqSegment(const TransformRequest& request, const AwqSearchSettings& settings) {
  const int64_t columns = request.statistics->channels();
  if (settings.reference || settings.loss == AwqLoss::kGram || SharesScales(request))
    return columns;
  const int64_t groups = request.linears.front().scheme->GroupsPerRow(columns);
  for (const TransformLinear& linear : request.linears) {
    if (linear.scheme->GroupsPerRow(columns) != groups) return columns;
  }
  return columns / groups;
}

AwqSearchSettings AwqSearchSettingsOf(const Scheme& scheme) {
  AwqSearchSettings settings;
  settings.grid = scheme.options.Integer("grid");
  settings.duo = scheme.options.Flag("duo");
  settings.reference = scheme.options.Flag("reference");
  const std::string search = scheme.options.Text("search");
  // Searching for the contents of blocks costs several times the run, and gains little.
  const bool pays = scheme.bits <= 3 && scheme.block == nullptr;
  settings.search_by_rule =
      scheme.scale_rule != ScaleRule::kAbsmax && (search == "rule" || (search == "auto" && pays));
  const std::string loss = scheme.options.Text("loss");
  if (loss == "blocks") settings.loss = AwqLoss::kBlocks;
  if (loss == "gram") settings.loss = AwqLoss::kGram;
  return settings;
}

AwqGroup AwqReferenceGroup(const float* weights, int64_t count, const Scheme& scheme) {
  const auto [low, high] = std::minmax_element(weights, weights + count);
  const int half = 1 << (scheme.bits - 1);
  constexpr float kLeastRange = 1e-5F;
  if (scheme.symmetric) {
    const float absmax = std::max({-*low, *high, kLeastRange});
    return {rules::RoundScale(absmax / static_cast<float>(half - 1), scheme.scale_dtype), 0};
  }
  const float steps = static_cast<float>(2 * half - 1);
  const float scale =
      rules::RoundScale(std::max(*high - *low, kLeastRange) / steps, scheme.scale_dtype);
  const float zero = rules::RoundToInteger(rules::Clamp(-*low / scale, 0, steps));
  return {scale, static_cast<int8_t>(static_cast<int>(zero) - half)};
}

void AwqReferenceErrors(const float* weights, int64_t count, const Scheme& scheme,
                        const QuantizeKernels& kernels, float* errors) {
  const AwqGroup group = AwqReferenceGroup(weights, count, scheme);
  std::vector<int8_t> codes(static_cast<size_t>(count));
  double energies[2] = {};
  kernels.quantize(weights, count, group.scale, group.zero, scheme.bits, codes.data(), energies,
                   energies + 1);
  for (int64_t k = 0; k < count; ++k) {
    const int step = codes[static_cast<size_t>(k)] - group.zero;
    errors[k] = static_cast<float>(step) * group.scale - weights[k];
  }
}

AwqLossMeter::AwqLossMeter(const TransformRequest& request, const AwqSearchSettings& settings,
                           std::span<const AwqCandidate> candidates, const MethodContext& context)
    : statistics_(*request.statistics),
      settings_(settings),
      candidates_(candidates),
      context_(context),
      columns_(request.statistics->channels()),
      segment_(AwqSegment(request, settings)) {
  const std::vector<float> squares = statistics_.MeanSquares();
  for (const AwqCandidate& candidate : candidates_) {
    std::vector<float> inverse(squares.size()), importance(squares.size());
    for (size_t k = 0; k < squares.size(); ++k) {
      inverse[k] = 1.0F / candidate.scales[k];
      importance[k] = squares[k] * inverse[k] * inverse[k];
    }
    inverses_.push_back(std::move(inverse));
    importance_.push_back(std::move(importance));
  }
}

// Rounds one group of weights, scaled; returns the sum of h D^2; `errors`, where not null, gets D.
double AwqLossMeter::Round(const Scheme& scheme, const Place& place, const float* weights,
                           float* scaled, float* errors) const {
  const QuantizeKernels& kernels = context_.kernels;
  const float* importance = importance_[place.candidate].data() + place.column;
  kernels.multiply(weights, candidates_[place.candidate].scales.data() + place.column, place.count,
                   scaled);
  double loss = 0;
  if (scheme.block != nullptr) {
    loss = BlockRoundingError(scheme, scaled, importance, place.count, errors);
  } else if (settings_.reference) {
    float* to = errors == nullptr ? scaled : errors;
    AwqReferenceErrors(scaled, place.count, scheme, kernels, to);
    float sum = 0;
    for (int64_t k = 0; k < place.count; ++k) sum += importance[k] * to[k] * to[k];
    loss = static_cast<double>(sum);
  } else {
    AwqGroup group;
    const bool weighted = scheme.scale_rule == ScaleRule::kWeightedMse;
    ChooseScale(kernels, scaled, weighted ? importance : nullptr, place.count, scheme, &group.scale,
                &group.zero);
    loss = static_cast<double>(RoundingError(kernels, scaled, importance, place.count, group.scale,
                                             group.zero, scheme, errors));
  }
  if (errors != nullptr) {
    kernels.multiply(errors, inverses_[place.candidate].data() + place.column, place.count, errors);
  }
  return loss;
}

absl::Status AwqLossMeter::Add(const Scheme& scheme, const float* weights, int64_t rows,
                               double* losses) const {
  const Scheme search = SearchScheme(scheme, settings_);
  switch (settings_.loss) {
    case AwqLoss::kDiagonal:
      AddDiagonal(search, weights, rows, losses);
      return absl::OkStatus();
    case AwqLoss::kBlocks:
      return AddBlocks(search, weights, rows, losses);
    case AwqLoss::kGram:
      return AddGram(search, weights, rows, losses);
  }
  return absl::OkStatus();
}

// A group of columns of all rows stays in the nearest cache while every candidate rounds it.
void AwqLossMeter::AddDiagonal(const Scheme& scheme, const float* weights, int64_t rows,
                               double* losses) const {
  const int64_t count = columns_ / scheme.GroupsPerRow(columns_);
  AlignedBuffer<float> scaled(count);
  for (int64_t column = 0; column < columns_; column += count) {
    double* own = losses + column / segment_ * static_cast<int64_t>(candidates_.size());
    for (size_t c = 0; c < candidates_.size(); ++c) {
      for (int64_t n = 0; n < rows; ++n) {
        own[c] += Round(scheme, {c, column, count}, weights + n * columns_ + column, scaled.data(),
                        nullptr);
      }
    }
  }
}

absl::Status AwqLossMeter::AddBlocks(const Scheme& scheme, const float* weights, int64_t rows,
                                     double* losses) const {
  const int64_t count = columns_ / scheme.GroupsPerRow(columns_);
  const int64_t all = static_cast<int64_t>(candidates_.size()) * rows;
  AlignedBuffer<float> scaled(count), block(count * count);
  AlignedBuffer<float> errors(all * count), products(all * count);
  for (int64_t column = 0; column < columns_; column += count) {
    statistics_.gram.CopyBlock(column, count, block.data());
    for (int64_t at = 0; at < all; ++at) {
      const Place place = {static_cast<size_t>(at / rows), column, count};
      (void)Round(scheme, place, weights + at % rows * columns_ + column, scaled.data(),
                  errors.data() + at * count);
    }
    QD_RETURN_IF_ERROR(context_.backend.Product(
        {.m = all, .n = count, .k = count, .lda = count, .ldb = count, .ldc = count}, errors.data(),
        block.data(), products.data()));
    double* own = losses + column / segment_ * static_cast<int64_t>(candidates_.size());
    for (int64_t at = 0; at < all; ++at) {
      own[at / rows] += Dot(errors.data() + at * count, products.data() + at * count, count);
    }
  }
  return absl::OkStatus();
}

absl::Status AwqLossMeter::AddGram(const Scheme& scheme, const float* weights, int64_t rows,
                                   double* losses) const {
  const int64_t count = columns_ / scheme.GroupsPerRow(columns_);
  AlignedBuffer<float> scaled(count), errors(rows * columns_);
  for (size_t c = 0; c < candidates_.size(); ++c) {
    for (int64_t at = 0; at < rows * columns_; at += count) {
      (void)Round(scheme, {c, at % columns_, count}, weights + at, scaled.data(),
                  errors.data() + at);
    }
    QD_ASSIGN_OR_RETURN(const double loss, GramForm(errors.data(), rows));
    losses[c] += loss;
  }
  return absl::OkStatus();
}

// The sum over rows of e G e^T, panel by panel of G: what is left of the diagonal counts twice.
absl::StatusOr<double> AwqLossMeter::GramForm(const float* errors, int64_t rows) const {
  const LowerPanels& lower = statistics_.gram.lower;
  AlignedBuffer<float> products(rows * columns_);
  double sum = 0;
  for (int64_t begin = 0; begin < columns_; begin = lower.PanelEnd(begin)) {
    const int64_t end = lower.PanelEnd(begin);
    QD_RETURN_IF_ERROR(context_.backend.Product({.m = rows,
                                                 .n = end,
                                                 .k = end - begin,
                                                 .lda = columns_,
                                                 .ldb = lower.Stride(begin),
                                                 .ldc = columns_},
                                                errors + begin, lower.Row(begin), products.data()));
    for (int64_t at = 0; at < rows * columns_; at += columns_) {
      sum += 2 * Dot(errors + at, products.data() + at, begin) +
             Dot(errors + at + begin, products.data() + at + begin, end - begin);
    }
    lower.Release(begin);
  }
  return sum;
}

}  // namespace quantd
