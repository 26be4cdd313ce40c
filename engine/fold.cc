#include "engine/fold.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "engine/model/scaling_groups.h"

namespace quantd {
namespace {

using Fold = absl::StatusOr<FoldChoice> (*)(const FoldRequest&, const MethodContext&);

Fold FoldOf(const ResolvedLinear& entry) {
  return entry.scheme.has_value() ? FindMethod(entry.scheme->method)->fold : nullptr;
}

// The fold that all linears of the group ask for; null if there is none.
Fold CommonFold(const ScalingGroup& group, std::span<const ResolvedLinear> linears) {
  const Fold first = FoldOf(linears[static_cast<size_t>(group.linears.front())]);
  for (const int position : group.linears) {
    if (FoldOf(linears[static_cast<size_t>(position)]) != first) return nullptr;
  }
  return first;
}

bool AnyAsksForFold(const ScalingGroup& group, std::span<const ResolvedLinear> linears) {
  return std::any_of(group.linears.begin(), group.linears.end(), [&](int position) {
    return FoldOf(linears[static_cast<size_t>(position)]) != nullptr;
  });
}

absl::StatusOr<FoldRequest> RequestFor(const PlannedQuantization& planned,
                                       const ScalingGroup& group,
                                       std::span<const ResolvedLinear> linears,
                                       const InputStatistics& statistics) {
  FoldRequest request;
  request.statistics = &statistics;
  request.shared = group.source_rows;
  for (const int position : group.linears) {
    const ResolvedLinear& entry = linears[static_cast<size_t>(position)];
    const std::string tensor = entry.linear->name + ".weight";
    const auto read = [&planned, tensor](int64_t row, int64_t count, float* to) {
      return planned.checkpoint.ReadRowsF32(tensor, row, count, to);
    };
    request.linears.push_back({entry.linear, &*entry.scheme, read});
  }
  return request;
}

// One scale per source row: the geometric mean would cost logarithms; the channels of one row carry
// the same values but for the attention pattern, so their scales are near each other and the
// arithmetic mean serves.
void ShareBySource(const ScalingGroup& group, int64_t source_rows, std::vector<float>& scales) {
  std::vector<double> sums(static_cast<size_t>(source_rows));
  std::vector<int64_t> counts(static_cast<size_t>(source_rows));
  for (size_t k = 0; k < scales.size(); ++k) {
    const auto row = static_cast<size_t>(group.source_rows[k]);
    sums[row] += static_cast<double>(scales[k]);
    ++counts[row];
  }
  for (size_t k = 0; k < scales.size(); ++k) {
    const auto row = static_cast<size_t>(group.source_rows[k]);
    scales[k] = static_cast<float>(sums[row] / static_cast<double>(counts[row]));
  }
}

// Divides the gain, rounds it to its stored type, and makes `scales` what the rounding left.
absl::StatusOr<std::vector<float>> DivideGain(const Checkpoint& checkpoint, const std::string& norm,
                                              std::vector<float>& scales) {
  QD_ASSIGN_OR_RETURN(const AlignedBuffer<float> gain, checkpoint.ReadF32(norm));
  const DType dtype = checkpoint.Find(norm)->dtype;
  std::vector<float> divided(scales.size());
  for (size_t k = 0; k < scales.size(); ++k) divided[k] = gain.data()[k] / scales[k];
  AlignedBuffer<std::byte> stored(gain.size() * SizeOf(dtype));
  NarrowFromF32(divided.data(), gain.size(), dtype, stored.data());
  WidenToF32(stored.data(), dtype, gain.size(), divided.data());
  for (size_t k = 0; k < scales.size(); ++k) {
    // Too small or too large for the type, or it was zero.
    if (divided[k] == 0 || !std::isfinite(divided[k])) {
      divided[k] = gain.data()[k];
      scales[k] = 1;
    } else {
      scales[k] = gain.data()[k] / divided[k];
    }
  }
  return divided;
}

void DivideRows(const ScalingGroup& group, int64_t rows, std::span<const float> scales,
                LinearFold& source) {
  source.rows.assign(static_cast<size_t>(rows), 1.0F);
  for (size_t k = 0; k < scales.size(); ++k) {
    source.rows[static_cast<size_t>(group.source_rows[k])] = 1.0F / scales[k];
  }
}

}  // namespace

void LinearFold::Apply(int64_t row, int64_t count, int64_t columns_count, float* weights) const {
  for (int64_t n = 0; n < count; ++n) {
    float* w = weights + n * columns_count;
    const float factor = rows.empty() ? 1.0F : rows[static_cast<size_t>(row + n)];
    if (columns.empty()) {
      for (int64_t k = 0; k < columns_count; ++k) w[k] *= factor;
    } else {
      for (int64_t k = 0; k < columns_count; ++k) w[k] *= factor * columns[static_cast<size_t>(k)];
    }
  }
}

absl::StatusOr<BlockFold> ChooseFolds(const PlannedQuantization& planned, const BlockSpec& block,
                                      std::span<const ResolvedLinear> linears,
                                      const MethodContext& context,
                                      std::vector<InputStatistics>& statistics) {
  BlockFold all;
  all.linears.resize(block.linears.size());
  for (const ScalingGroup& group : ScalingGroupsOf(planned.plan.model, block)) {
    const std::string& name = block.linears[static_cast<size_t>(group.linears.front())].name;
    const Fold fold = CommonFold(group, linears);
    if (fold == nullptr) {
      if (AnyAsksForFold(group, linears)) {
        all.warnings.push_back(name +
                               " keeps its scale: the linears that share its input are not "
                               "all quantized by the same method");
      }
      continue;
    }
    if (group.source >= 0 && !linears[static_cast<size_t>(group.source)].scheme.has_value()) {
      all.warnings.push_back(name + " keeps its scale: what makes its input is not quantized");
      continue;
    }
    InputStatistics& input = statistics[static_cast<size_t>(group.input)];
    QD_ASSIGN_OR_RETURN(const FoldRequest request, RequestFor(planned, group, linears, input));
    QD_ASSIGN_OR_RETURN(FoldChoice choice, fold(request, context));
    std::vector<float>& scales = choice.scales;
    if (!scales.empty() && group.source >= 0) {
      const int64_t rows = block.linears[static_cast<size_t>(group.source)].out_features;
      ShareBySource(group, rows, scales);
      DivideRows(group, rows, scales, all.linears[static_cast<size_t>(group.source)]);
    } else if (!scales.empty()) {
      QD_ASSIGN_OR_RETURN(all.gains[group.norm],
                          DivideGain(planned.checkpoint, group.norm, scales));
    }
    for (const int position : group.linears) {
      LinearFold& linear = all.linears[static_cast<size_t>(position)];
      linear.figures = choice.figures;
      if (!scales.empty()) linear.columns = scales;
    }
    if (!scales.empty()) input = input.DividedBy(scales);
  }
  return all;
}

BlockWeights FoldedWeights(const BlockSpec& block, const BlockFold& fold,
                           const BlockWeights& original) {
  BlockWeights weights = original;
  const auto replace = [&](const std::string& norm,
                           std::shared_ptr<const AlignedBuffer<float>>& gain) {
    const auto folded = fold.gains.find(norm);
    if (folded == fold.gains.end()) return;
    AlignedBuffer<float> values(static_cast<int64_t>(folded->second.size()));
    std::copy(folded->second.begin(), folded->second.end(), values.data());
    gain = std::make_shared<const AlignedBuffer<float>>(std::move(values));
  };
  replace(block.input_norm, weights.input_norm);
  replace(block.post_attention_norm, weights.post_attention_norm);
  for (size_t i = 0; i < block.linears.size(); ++i) {
    const std::vector<float>& factors = fold.linears[i].rows;
    auto& bias = weights.linears[i].bias;
    if (factors.empty() || bias == nullptr) continue;
    AlignedBuffer<float> values(bias->size());
    for (int64_t n = 0; n < values.size(); ++n) {
      values.data()[n] = bias->data()[n] * factors[static_cast<size_t>(n)];
    }
    bias = std::make_shared<const AlignedBuffer<float>>(std::move(values));
  }
  return weights;
}

}  // namespace quantd
