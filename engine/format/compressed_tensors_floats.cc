#include "engine/format/compressed_tensors_floats.h"

#include <cstring>
#include <span>
#include <string>
#include <utility>

#include "base/checked.h"
#include "engine/format/stored_tensors.h"
#include "engine/tensor/small_float.h"

namespace quantd {
namespace {

bool IsStatic(const Scheme& scheme) { return scheme.activations == ActivationScheme::kStatic; }
bool HasActivations(const Scheme& scheme) { return scheme.activations != ActivationScheme::kNone; }
// Two codes of 4 bits to a byte.
bool InNibbles(const Scheme& scheme) { return scheme.bits == 4; }

DType ScaleType(const Scheme& scheme) {
  switch (scheme.number->scale) {
    case ScaleKind::kFloat:
      return scheme.scale_dtype;
    case ScaleKind::kE8M0:
      return DType::kU8;
    case ScaleKind::kE4M3:
      return DType::kF8E4M3;
  }
  return scheme.scale_dtype;
}

// As torch names it; null where the model's own type is meant.
Json ScaleTypeName(const Scheme& scheme) {
  if (scheme.number->scale == ScaleKind::kFloat) return nullptr;
  return "torch." + std::string(TorchNameOf(ScaleType(scheme)));
}

std::vector<std::byte> ScaleBytes(std::span<const float> scales, const Scheme& scheme) {
  if (scheme.number->scale == ScaleKind::kFloat) return NarrowedBytes(scales, scheme.scale_dtype);
  std::vector<std::byte> bytes(scales.size());
  for (size_t i = 0; i < scales.size(); ++i) {
    if (scheme.number->scale == ScaleKind::kE8M0) {
      bytes[i] = static_cast<std::byte>(rules::PowerCode(scales[i]));
      continue;
    }
    // Scales come divided by the tensor scale, which rounded once: rounding back gives the E4M3.
    const float stored = rules::RoundToSmallFloat(rules::kE4M3, scales[i] * scheme.tensor_scale);
    bytes[i] = static_cast<std::byte>(rules::SmallFloatCode(rules::kE4M3, stored));
  }
  return bytes;
}

// The first of two neighbours in the low half of a byte.
std::vector<std::byte> CodeBytes(const QuantizedRows& rows, const Scheme& scheme) {
  if (!InNibbles(scheme)) {
    std::vector<std::byte> bytes(rows.codes.size());
    std::memcpy(bytes.data(), rows.codes.data(), bytes.size());
    return bytes;
  }
  std::vector<std::byte> bytes(rows.codes.size() / 2);
  for (size_t i = 0; i < bytes.size(); ++i) {
    const int low = rows.codes[2 * i], high = rows.codes[2 * i + 1];
    bytes[i] = static_cast<std::byte>((low & 15) | (high & 15) << 4);
  }
  return bytes;
}

Json Arguments(const Scheme& scheme) {
  const bool second = scheme.number->scale == ScaleKind::kE4M3;
  const bool groups = scheme.granularity == Granularity::kGroup;
  Json arguments = {
      {"num_bits", scheme.bits},
      {"type", "float"},
      {"symmetric", true},
      {"group_size", groups ? Json(scheme.group_size) : Json(nullptr)},
      {"strategy", second ? "tensor_group" : std::string(NameOf(scheme.granularity))}};
  const Json type = ScaleTypeName(scheme);
  if (!type.is_null()) arguments["scale_dtype"] = type;
  return arguments;
}

}  // namespace

std::string_view FloatingLayout(const Scheme& scheme) {
  if (scheme.number->scale == ScaleKind::kE4M3) return "nvfp4-pack-quantized";
  if (scheme.number->scale == ScaleKind::kE8M0) {
    return InNibbles(scheme) ? "mxfp4-pack-quantized" : "mxfp8-quantized";
  }
  return HasActivations(scheme) ? "float-quantized" : "naive-quantized";
}

std::vector<TensorInfo> FloatingTensors(const LinearSpec& linear, const Scheme& scheme) {
  const int64_t n = linear.out_features, k = linear.in_features;
  std::vector<TensorInfo> tensors;
  if (InNibbles(scheme)) {
    tensors.push_back({"weight_packed", DType::kU8, {n, k / 2}});
  } else {
    tensors.push_back({"weight", DType::kF8E4M3, {n, k}});
  }
  std::vector<int64_t> shape = {DivideRoundingUp(n, scheme.RowsPerScale()), scheme.GroupsPerRow(k)};
  if (scheme.granularity == Granularity::kTensor) shape = {1};
  tensors.push_back({"weight_scale", ScaleType(scheme), std::move(shape)});
  if (scheme.number->scale == ScaleKind::kE4M3) {
    tensors.push_back({"weight_global_scale", DType::kF32, {1}});
    if (IsStatic(scheme)) tensors.push_back({"input_global_scale", DType::kF32, {1}});
  } else if (IsStatic(scheme)) {
    tensors.push_back({"input_scale", scheme.scale_dtype, {1}});
  }
  return tensors;
}

std::vector<PackedPiece> PackFloating(const LinearSpec& linear, const Scheme& scheme,
                                      int64_t row_begin, const QuantizedRows& rows) {
  const int64_t row_bytes = linear.in_features * scheme.bits / 8;
  std::vector<PackedPiece> pieces;
  pieces.push_back({0, row_begin * row_bytes, CodeBytes(rows, scheme)});
  const std::span<const float> scales = rows.scales;
  if (scheme.granularity == Granularity::kTensor) {
    if (row_begin == 0) pieces.push_back({1, 0, ScaleBytes(scales.first(1), scheme)});
    return pieces;
  }
  const int64_t width = SizeOf(ScaleType(scheme)), height = scheme.RowsPerScale();
  const int64_t offset = row_begin / height * rows.groups * width;
  if (height == 1) {
    pieces.push_back({1, offset, ScaleBytes(scales, scheme)});
    return pieces;
  }
  std::vector<float> of_blocks;  // the rows of a block carry the same
  for (int64_t n = 0; n < rows.rows; n += height) {
    const auto row =
        scales.subspan(static_cast<size_t>(n * rows.groups), static_cast<size_t>(rows.groups));
    of_blocks.insert(of_blocks.end(), row.begin(), row.end());
  }
  pieces.push_back({1, offset, ScaleBytes(of_blocks, scheme)});
  return pieces;
}

std::vector<PackedPiece> FloatingConstants(const LinearSpec& /*linear*/, const Scheme& scheme,
                                           const std::optional<StaticInput>& input) {
  std::vector<PackedPiece> pieces;
  const bool second = scheme.number->scale == ScaleKind::kE4M3;
  if (second) {
    pieces.push_back({2, 0, NarrowedBytes(std::span(&scheme.tensor_scale, 1), DType::kF32)});
  }
  if (!input.has_value()) return pieces;
  const DType type = second ? DType::kF32 : scheme.scale_dtype;
  pieces.push_back(
      {second ? size_t{3} : size_t{2}, 0, NarrowedBytes(std::span(&input->scale, 1), type)});
  return pieces;
}

Json FloatingWeightArguments(const Scheme& scheme) {
  Json arguments = Arguments(scheme);
  arguments["dynamic"] = false;
  if (scheme.RowsPerScale() > 1) {
    arguments["strategy"] = "block";
    arguments["block_structure"] = {scheme.RowsPerScale(), scheme.group_size};
    arguments["group_size"] = nullptr;
  }
  return arguments;
}

// Inputs are rounded to the format of the weights: per token or tensor where those have no groups.
Json FloatingInputArguments(const Scheme& scheme) {
  if (!HasActivations(scheme)) return nullptr;
  Json arguments = Arguments(scheme);
  if (scheme.granularity != Granularity::kGroup) {
    arguments["strategy"] = IsStatic(scheme) ? "tensor" : "token";
  }
  arguments["dynamic"] = !IsStatic(scheme);
  if (scheme.number->scale == ScaleKind::kE4M3) arguments["dynamic"] = "local";
  if (IsStatic(scheme)) arguments["observer"] = "static_minmax";
  return arguments;
}

}  // namespace quantd
