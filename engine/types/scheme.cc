#include "engine/types/scheme.h"

#include "absl/strings/str_cat.h"
#include "base/checked.h"
#include "base/error.h"

namespace quantd {

std::string_view NameOf(Granularity granularity) {
  switch (granularity) {
    case Granularity::kTensor:
      return "tensor";
    case Granularity::kChannel:
      return "channel";
    case Granularity::kGroup:
      return "group";
  }
  return "";
}

std::string_view NameOf(ScaleRule rule) {
  switch (rule) {
    case ScaleRule::kAbsmax:
      return "absmax";
    case ScaleRule::kMse:
      return "mse";
    case ScaleRule::kWeightedMse:
      return "weighted-mse";
    case ScaleRule::kHessian:
      return "hessian";
  }
  return "";
}

std::string_view NameOf(ActivationScheme activations) {
  switch (activations) {
    case ActivationScheme::kNone:
      return "none";
    case ActivationScheme::kDynamicToken:
      return "dynamic";
    case ActivationScheme::kStatic:
      return "static";
  }
  return "";
}

std::string Describe(const Scheme& scheme) {
  std::string text = absl::StrCat(scheme.method, " ");
  if (scheme.block != nullptr) {
    return absl::StrCat(text, ToAbsl(scheme.block->name), " ", ToAbsl(NameOf(scheme.scale_rule)));
  }
  const bool integers = scheme.activations != ActivationScheme::kNone;
  if (scheme.floating()) {
    absl::StrAppend(&text, ToAbsl(scheme.number->name), integers ? " with inputs" : "");
  } else {
    absl::StrAppend(&text, integers ? "w" : "int", scheme.bits, integers ? "a8" : "");
  }
  if (scheme.activations == ActivationScheme::kStatic) absl::StrAppend(&text, " static");
  if (scheme.granularity == Granularity::kGroup) {
    absl::StrAppend(&text, " g", scheme.group_size, scheme.ordered_groups ? " ordered" : "");
  } else {
    absl::StrAppend(&text, " ", ToAbsl(NameOf(scheme.granularity)));
  }
  const std::string_view zero =
      scheme.symmetric ? "sym" : (scheme.real_zero ? "real-zero" : "asym");
  absl::StrAppend(&text, " ", ToAbsl(zero), " ", ToAbsl(NameOf(scheme.scale_rule)));
  return text;
}

int64_t StorageBits(const Scheme& scheme, int64_t out_features, int64_t in_features) {
  if (scheme.block != nullptr) return 8 * out_features * scheme.block->RowBytes(in_features);
  const bool bytes = scheme.floating() && scheme.number->scale != ScaleKind::kFloat;
  const int64_t scale_bits = bytes ? 8 : 8 * SizeOf(scheme.scale_dtype);
  int64_t zero_bits = 0;
  if (!scheme.symmetric) zero_bits = scheme.real_zero ? scale_bits : scheme.bits;
  const int64_t scales = scheme.granularity == Granularity::kTensor
                             ? 1
                             : DivideRoundingUp(out_features, scheme.RowsPerScale()) *
                                   scheme.GroupsPerRow(in_features);
  const int64_t group_index = scheme.ordered_groups ? 32 * in_features : 0;
  return out_features * in_features * scheme.bits + scales * (scale_bits + zero_bits) + group_index;
}

void QuantizedRows::Dequantize(int64_t row, float* to) const {
  if (block != nullptr) {
    block->decode(*block, blocks.data() + row * block->RowBytes(columns), columns / block->elements,
                  to);
    return;
  }
  const int8_t* from = codes.data() + row * columns;
  if (number != nullptr && number->floating()) {
    const float* levels = LevelsOf(number->element);
    const int64_t size = columns / groups;
    for (int64_t k = 0; k < columns; ++k) {
      to[k] = levels[static_cast<uint8_t>(from[k])] *
              scales[static_cast<size_t>(row * groups + k / size)];
    }
    return;
  }
  const auto zero_of = [&](size_t at) {
    if (!zeros.empty()) return static_cast<float>(zeros[at]);
    return real_zeros.empty() ? 0.0f : real_zeros[at];
  };
  for (size_t k = 0; k < group_of.size(); ++k) {
    const auto at = static_cast<size_t>(row * groups + group_of[k]);
    to[k] = (static_cast<float>(from[k]) - zero_of(at)) * scales[at];
  }
  if (!group_of.empty()) return;
  const int64_t width = columns / groups;
  for (int64_t group = 0; group < groups; ++group) {
    const auto at = static_cast<size_t>(row * groups + group);
    const float zero = zero_of(at), scale = scales[at];
    for (int64_t k = group * width; k < (group + 1) * width; ++k) {
      to[k] = (static_cast<float>(from[k]) - zero) * scale;
    }
  }
}

QuantizedRows RoomFor(const Scheme& scheme, int64_t rows, int64_t columns) {
  QuantizedRows room;
  room.rows = rows;
  room.columns = columns;
  if (scheme.block != nullptr) {
    room.block = scheme.block;
    room.blocks.resize(static_cast<size_t>(rows * scheme.block->RowBytes(columns)));
    return room;
  }
  room.groups = scheme.GroupsPerRow(columns);
  room.number = scheme.number;
  const auto groups = static_cast<size_t>(rows * room.groups);
  room.codes.resize(static_cast<size_t>(rows * columns));
  room.scales.resize(groups);
  if (!scheme.symmetric && !scheme.real_zero) room.zeros.resize(groups);
  if (!scheme.symmetric && scheme.real_zero) room.real_zeros.resize(groups);
  return room;
}

}  // namespace quantd
