#include "engine/method/round_to_nearest.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "engine/backend/number_kernels.h"
#include "engine/method/block_rounding.h"
#include "engine/method/local_hessian.h"

namespace quantd {
namespace {

absl::Status NotFinite(const float* row, int64_t row_index, int64_t columns) {
  const float* bad = std::find_if(row, row + columns, [](float w) { return !std::isfinite(w); });
  return MakeError(Reason::kModelNotFinite, "a weight is not finite",
                   {.where = absl::StrCat("row ", row_index, ", column ", bad - row),
                    .got = absl::StrCat(*bad),
                    .wanted = "a finite number"});
}

struct PreparedRounding : Prepared {
  LocalHessian local;  // with ScaleRule::kHessian
};

struct TensorScale {
  float scale = 1;
  int8_t zero = 0;
};

// One scale for all rows, by absmax: the least and the greatest weight stand for all of them.
absl::StatusOr<TensorScale> ChooseTensorScale(const WeightRows& weight, const Scheme& scheme,
                                              const QuantizeKernels& kernels, float* buffer) {
  float range[2] = {0, 0};
  for (int64_t n = 0; n < weight.rows; ++n) {
    QD_RETURN_IF_ERROR(WidenRow(weight, n, kernels, buffer));
    const auto [low, high] = std::minmax_element(buffer, buffer + weight.columns);
    range[0] = std::min(range[0], *low);
    range[1] = std::max(range[1], *high);
  }
  TensorScale chosen;
  ChooseScale(kernels, range, nullptr, 2, scheme, &chosen.scale, &chosen.zero);
  return chosen;
}

// One panel of rows, group by group, as ImproveScales wants them: transposed.
absl::Status RoundByHessian(const WeightRows& weight, const Scheme& scheme,
                            const PreparedRounding& prepared, const MethodContext& context,
                            QuantizedRows* out) {
  const QuantizeKernels& kernels = context.kernels;
  const int64_t rows = weight.rows, columns = weight.columns, groups = out->groups;
  const int64_t size = columns / groups;
  std::vector<float> wide(static_cast<size_t>(rows * columns));
  for (int64_t n = 0; n < rows; ++n) {
    QD_RETURN_IF_ERROR(WidenRow(weight, n, kernels, wide.data() + n * columns));
  }
  std::vector<float> transposed(static_cast<size_t>(size * rows));
  std::vector<float> scales(static_cast<size_t>(rows)), zeros(scales.size());
  for (int64_t g = 0; g < groups; ++g) {
    for (int64_t n = 0; n < rows; ++n) {
      const float* from = wide.data() + n * columns + g * size;
      for (int64_t k = 0; k < size; ++k) transposed[static_cast<size_t>(k * rows + n)] = from[k];
      int8_t zero = 0;
      ChooseScale(kernels, from, prepared.importance.data() + g * size, size, scheme,
                  &scales[static_cast<size_t>(n)], &zero);
      zeros[static_cast<size_t>(n)] = static_cast<float>(zero);
    }
    QD_RETURN_IF_ERROR(ImproveScales({.weights = transposed.data(), .size = size, .rows = rows},
                                     prepared.local.Block(g), scheme, context, scales.data(),
                                     zeros.data()));
    for (int64_t n = 0; n < rows; ++n) {
      const float scale = scales[static_cast<size_t>(n)];
      const int8_t zero = static_cast<int8_t>(zeros[static_cast<size_t>(n)]);
      QuantizeGroup(kernels, wide.data() + n * columns + g * size, size, scale, zero, scheme,
                    out->codes.data() + n * columns + g * size, &out->weight_energy,
                    &out->error_energy);
      const size_t at = static_cast<size_t>(n * groups + g);
      out->scales[at] = scale;
      if (!scheme.symmetric) out->zeros[at] = zero;
    }
  }
  return absl::OkStatus();
}

// Rows in blocks whose weights share a scale: the blocks of up to RowsPerScale() rows side by side.
absl::Status RoundBlocks(const WeightRows& weight, const Scheme& scheme, const float* importance,
                         const QuantizeKernels& kernels, QuantizedRows* out) {
  const int64_t columns = weight.columns, groups = out->groups, size = columns / groups;
  const int64_t height = std::min(weight.rows, scheme.RowsPerScale());
  std::vector<float> wide(static_cast<size_t>(height * columns));
  std::vector<float> block(static_cast<size_t>(height * size)), repeated;
  if (importance != nullptr) repeated.resize(block.size());
  for (int64_t first = 0; first < weight.rows; first += height) {
    const int64_t rows = std::min(height, weight.rows - first);
    for (int64_t n = 0; n < rows; ++n) {
      QD_RETURN_IF_ERROR(WidenRow(weight, first + n, kernels, wide.data() + n * columns));
    }
    for (int64_t g = 0; g < groups; ++g) {
      for (int64_t n = 0; n < rows; ++n) {
        std::copy_n(wide.data() + n * columns + g * size, size, block.data() + n * size);
        if (importance == nullptr) continue;
        std::copy_n(importance + g * size, size, repeated.data() + n * size);
      }
      TensorScale chosen;
      ChooseScale(kernels, block.data(), importance == nullptr ? nullptr : repeated.data(),
                  rows * size, scheme, &chosen.scale, &chosen.zero);
      for (int64_t n = 0; n < rows; ++n) {
        QuantizeGroup(kernels, block.data() + n * size, size, chosen.scale, chosen.zero, scheme,
                      out->codes.data() + (first + n) * columns + g * size, &out->weight_energy,
                      &out->error_energy);
        out->scales[static_cast<size_t>((first + n) * groups + g)] = chosen.scale;
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace

void AddEnergies(std::span<const float> row, std::span<const float> rounded, double* weight_energy,
                 double* error_energy) {
  double weight_sum = 0, error_sum = 0;
  for (size_t k = 0; k < row.size(); ++k) {
    const double wide = row[k], error = wide - static_cast<double>(rounded[k]);
    weight_sum += wide * wide;
    error_sum += error * error;
  }
  *weight_energy += weight_sum;
  *error_energy += error_sum;
}

absl::Status WidenRow(const WeightRows& weight, int64_t index, const QuantizeKernels& kernels,
                      float* buffer) {
  WidenToF32(weight.Slice(index, 1).data, weight.dtype, weight.columns, buffer);
  if (!kernels.all_finite(buffer, weight.columns)) return NotFinite(buffer, index, weight.columns);
  return absl::OkStatus();
}

std::vector<float> ImportanceOf(const InputStatistics& statistics) {
  std::vector<float> importance = statistics.MeanSquares();
  double mean = 0;
  for (const float value : importance) mean += value;
  mean /= static_cast<double>(std::max<size_t>(1, importance.size()));
  if (!(mean > 0)) {
    std::fill(importance.begin(), importance.end(), 1.0f);
    return importance;
  }
  for (float& value : importance) {
    value = static_cast<float>((static_cast<double>(value) / mean + 0.01) / 1.01);
  }
  return importance;
}

void AddFloatingInput(const Scheme& scheme, const InputStatistics& statistics, Prepared& prepared) {
  if (!scheme.floating() || scheme.activations != ActivationScheme::kStatic) return;
  float absmax = 0;
  for (const float value : statistics.max_abs) absmax = std::max(absmax, value);
  const bool second = scheme.number->scale == ScaleKind::kE4M3;
  prepared.input = {.scale = second ? TensorScaleOf(absmax) : ScaleOfRange(absmax, scheme),
                    .zero = 0};
  prepared.figures.emplace_back("input_scale", static_cast<double>(prepared.input->scale));
}

StatisticsNeeds RoundToNearestNeeds(const Scheme& scheme) {
  const bool hessian = scheme.scale_rule == ScaleRule::kHessian;
  const bool weighted = hessian || scheme.scale_rule == ScaleRule::kWeightedMse;
  const int64_t block = scheme.granularity == Granularity::kGroup ? scheme.group_size : kWholeGram;
  const bool range = scheme.floating() && scheme.activations == ActivationScheme::kStatic;
  return {.moments = weighted || range, .gram_block = hessian ? block : 0, .histogram = false};
}

absl::StatusOr<std::shared_ptr<const Prepared>> PrepareRoundToNearest(
    const Scheme& scheme, const InputStatistics* statistics, const MethodContext& context) {
  auto prepared = std::make_shared<PreparedRounding>();
  if (!RoundToNearestNeeds(scheme).any() || statistics == nullptr) return prepared;
  AddFloatingInput(scheme, *statistics, *prepared);
  const bool weighted = scheme.scale_rule == ScaleRule::kWeightedMse;
  if (weighted || scheme.scale_rule == ScaleRule::kHessian) {
    prepared->importance = ImportanceOf(*statistics);
  }
  if (scheme.scale_rule == ScaleRule::kHessian) {
    const int64_t channels = statistics->channels();
    QD_ASSIGN_OR_RETURN(
        prepared->local,
        LocalHessian::Of(*statistics, channels / scheme.GroupsPerRow(channels), {}, context));
  }
  return prepared;
}

absl::Status RoundToNearest(const WeightRows& weight, const Scheme& scheme,
                            const Prepared* prepared, const MethodContext& context,
                            QuantizedRows* out) {
  if (scheme.block != nullptr) return RoundToBlocks(weight, scheme, prepared, context, out);
  *out = RoomFor(scheme, weight.rows, weight.columns);
  const auto* rounding = dynamic_cast<const PreparedRounding*>(prepared);
  if (rounding != nullptr && !rounding->local.empty()) {
    return RoundByHessian(weight, scheme, *rounding, context, out);
  }
  const QuantizeKernels& kernels = context.kernels;
  const int64_t columns = weight.columns, groups = out->groups;
  const int64_t group_size = columns / groups;
  const float* importance =
      prepared == nullptr || prepared->importance.empty() ? nullptr : prepared->importance.data();
  if (scheme.RowsPerScale() > 1) return RoundBlocks(weight, scheme, importance, kernels, out);
  std::vector<float> row(static_cast<size_t>(columns));
  const bool whole_tensor = scheme.granularity == Granularity::kTensor;
  TensorScale shared;
  if (whole_tensor) {
    QD_ASSIGN_OR_RETURN(shared, ChooseTensorScale(weight, scheme, kernels, row.data()));
  }
  for (int64_t n = 0; n < weight.rows; ++n) {
    QD_RETURN_IF_ERROR(WidenRow(weight, n, kernels, row.data()));
    for (int64_t g = 0; g < groups; ++g) {
      const float* weights = row.data() + g * group_size;
      TensorScale chosen = shared;
      if (!whole_tensor) {
        ChooseScale(kernels, weights, importance == nullptr ? nullptr : importance + g * group_size,
                    group_size, scheme, &chosen.scale, &chosen.zero);
      }
      QuantizeGroup(kernels, weights, group_size, chosen.scale, chosen.zero, scheme,
                    out->codes.data() + n * columns + g * group_size, &out->weight_energy,
                    &out->error_energy);
      const size_t at = static_cast<size_t>(n * groups + g);
      out->scales[at] = chosen.scale;
      if (!scheme.symmetric) out->zeros[at] = chosen.zero;
    }
  }
  return absl::OkStatus();
}

}  // namespace quantd
