#include "engine/block/choose_transforms.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "engine/model/scaling_groups.h"

namespace quantd {
namespace {

using Choose = absl::StatusOr<TransformChoice> (*)(const TransformRequest&, const MethodContext&);

Choose ChoiceOf(const ResolvedLinear& entry) {
  return entry.scheme.has_value() ? FindMethod(entry.scheme->method)->transform : nullptr;
}

// A router is never quantized; its columns follow what the others ask for.
bool Follows(const ResolvedLinear& entry) { return IsRouting(entry.linear->role); }

// The transform that all linears of the group ask for; null if there is none.
Choose CommonChoice(const ScalingGroup& group, std::span<const ResolvedLinear> linears) {
  std::optional<Choose> common;
  for (const int position : group.linears) {
    const ResolvedLinear& entry = linears[static_cast<size_t>(position)];
    if (Follows(entry)) continue;
    if (!common.has_value()) common = ChoiceOf(entry);
    if (ChoiceOf(entry) != *common) return nullptr;
  }
  return common.value_or(nullptr);
}

bool AnyAsks(const ScalingGroup& group, std::span<const ResolvedLinear> linears) {
  return std::any_of(group.linears.begin(), group.linears.end(), [&](int position) {
    return ChoiceOf(linears[static_cast<size_t>(position)]) != nullptr;
  });
}

TransformRequest RequestFor(const Block& block, const ScalingGroup& group) {
  TransformRequest request;
  request.statistics = &block.statistics[static_cast<size_t>(group.input)];
  request.shared = group.source_rows;
  for (const int position : group.linears) {
    const ResolvedLinear& entry = block.linears[static_cast<size_t>(position)];
    if (Follows(entry)) continue;
    const auto read = [&source = block.sources[static_cast<size_t>(position)]](
                          int64_t row, int64_t count, float* to) {
      return source.ReadF32(row, count, to);
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

void RoundTo(DType dtype, std::vector<float>& values) {
  const auto count = static_cast<int64_t>(values.size());
  AlignedBuffer<std::byte> stored(count * SizeOf(dtype));
  NarrowFromF32(values.data(), count, dtype, stored.data());
  WidenToF32(stored.data(), dtype, count, values.data());
}

// Divides the gain, rounds it to its stored type, and makes `scales` what the rounding left. What a
// norm multiplies by is its gain plus `offset`.
absl::StatusOr<std::vector<float>> DivideGain(const Checkpoint& checkpoint, const std::string& norm,
                                              float offset, std::vector<float>& scales) {
  QD_ASSIGN_OR_RETURN(const AlignedBuffer<float> gain, checkpoint.ReadF32(norm));
  std::vector<float> divided(scales.size());
  for (size_t k = 0; k < scales.size(); ++k) {
    divided[k] = (gain.data()[k] + offset) / scales[k] - offset;
  }
  RoundTo(checkpoint.Find(norm)->dtype, divided);
  for (size_t k = 0; k < scales.size(); ++k) {
    // Too small or too large for the type, or it was zero.
    const float factor = divided[k] + offset;
    if (factor == 0 || !std::isfinite(factor)) {
      divided[k] = gain.data()[k];
      scales[k] = 1;
    } else {
      scales[k] = (gain.data()[k] + offset) / factor;
    }
  }
  return divided;
}

// Divides gain and bias of a norm. A rounded bias is off by less than the type's precision: nothing
// can take that up.
absl::Status DivideNorm(const Checkpoint& checkpoint, const NormSpec& norm, double offset,
                        std::vector<float>& scales, ReplacedNorms& norms) {
  QD_ASSIGN_OR_RETURN(norms[norm.gain],
                      DivideGain(checkpoint, norm.gain, static_cast<float>(offset), scales));
  if (norm.bias.empty()) return absl::OkStatus();
  QD_ASSIGN_OR_RETURN(const AlignedBuffer<float> bias, checkpoint.ReadF32(norm.bias));
  std::vector<float> divided(scales.size());
  for (size_t k = 0; k < scales.size(); ++k) divided[k] = bias.data()[k] / scales[k];
  RoundTo(checkpoint.Find(norm.bias)->dtype, divided);
  norms[norm.bias] = std::move(divided);
  return absl::OkStatus();
}

// Each input that the group's linears read, once.
void DivideStatistics(const ScalingGroup& group, const BlockSpec& block,
                      std::span<const float> scales, std::vector<InputStatistics>& statistics) {
  std::set<int> inputs = {group.input};
  for (const int position : group.linears) {
    inputs.insert(block.linears[static_cast<size_t>(position)].input);
  }
  for (const int input : inputs) {
    InputStatistics& divided = statistics[static_cast<size_t>(input)];
    if (divided.channels() > 0) divided.DivideBy(scales);
  }
}

void DivideRows(const ScalingGroup& group, int64_t rows, std::span<const float> scales,
                Transform& source) {
  source.rows.assign(static_cast<size_t>(rows), 1.0F);
  for (size_t k = 0; k < scales.size(); ++k) {
    source.rows[static_cast<size_t>(group.source_rows[k])] = 1.0F / scales[k];
  }
}

}  // namespace

absl::StatusOr<std::vector<std::string>> ChooseTransforms(const PlannedQuantization& planned,
                                                          const MethodContext& context,
                                                          Block& block) {
  std::vector<std::string> warnings;
  BlockTransform& all = block.transform;
  for (const ScalingGroup& group : ScalingGroupsOf(planned.plan.model, block.spec)) {
    const std::string& name = block.spec.linears[static_cast<size_t>(group.linears.front())].name;
    const Choose choose = CommonChoice(group, block.linears);
    if (choose == nullptr) {
      if (AnyAsks(group, block.linears)) {
        warnings.push_back(name +
                           " keeps its scale: the linears that share its input are not "
                           "all quantized by the same method");
      }
      continue;
    }
    if (group.source >= 0 && !block.linears[static_cast<size_t>(group.source)].scheme.has_value()) {
      warnings.push_back(name + " keeps its scale: what makes its input is not quantized");
      continue;
    }
    QD_ASSIGN_OR_RETURN(TransformChoice choice, choose(RequestFor(block, group), context));
    std::vector<float>& scales = choice.scales;
    if (!scales.empty() && group.source >= 0) {
      const int64_t rows = block.spec.linears[static_cast<size_t>(group.source)].out_features;
      ShareBySource(group, rows, scales);
      DivideRows(group, rows, scales, all.linears[static_cast<size_t>(group.source)]);
    } else if (!scales.empty()) {
      QD_RETURN_IF_ERROR(DivideNorm(planned.checkpoint, group.norm, planned.plan.model.gain_offset,
                                    scales, all.norms));
    }
    for (const int position : group.linears) {
      Transform& linear = all.linears[static_cast<size_t>(position)];
      linear.figures = choice.figures;
      if (!scales.empty()) linear.columns = scales;
    }
    if (!scales.empty()) DivideStatistics(group, block.spec, scales, block.statistics);
  }
  return warnings;
}

}  // namespace quantd
