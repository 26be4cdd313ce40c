// What the shapes of each layout's tensors say of a linear.

#include <array>
#include <cstring>
#include <optional>

#include "absl/strings/str_cat.h"
#include "base/checked.h"
#include "base/error.h"
#include "engine/format/packed_words.h"
#include "engine/inspect/stored_module.h"

namespace quantd {
namespace {

const std::vector<DType> kFloats = {DType::kF16, DType::kBF16, DType::kF32};

// Where a measure begins: symmetric, one scale a row.
Scheme Stored(int bits, DType scale_dtype) {
  Scheme scheme;
  scheme.bits = bits;
  scheme.granularity = Granularity::kChannel;
  scheme.group_size = 0;
  scheme.scale_dtype = scale_dtype;
  return scheme;
}

// Sizes of a two-dimensional part; nothing if it is missing or of another rank.
std::optional<std::array<int64_t, 2>> Matrix(const StoredModule& module, std::string_view part) {
  const FolderTensor* tensor = module.Part(part);
  if (tensor == nullptr || tensor->info.shape.size() != 2) return std::nullopt;
  return std::array<int64_t, 2>{tensor->info.shape[0], tensor->info.shape[1]};
}

// Bits of a code when `words` 32-bit words hold `codes` of them; 0: none fits.
int BitsOf(int64_t words, int64_t codes) {
  for (const int bits : {4, 8, 2, 3, 5, 6, 7, 1}) {
    if (words == WordsFor(codes, bits)) return bits;
  }
  // Before compressed-tensors 0.18 widths that do not divide 32 left bits of a word unused.
  for (const int bits : {3, 5, 6, 7}) {
    if (words == DivideRoundingUp(codes, 32 / bits)) return bits;
  }
  return 0;
}

// Whether a matrix of this shape can be; a problem of `part` otherwise.
bool PossibleShape(const StoredModule& module, std::string_view part,
                   const std::vector<int64_t>& shape, Findings* findings) {
  if (shape.size() != 2) return false;
  if (shape[0] > 0 && shape[1] > 0 && CheckedProduct(shape).value_or(0) > 0 &&
      *CheckedProduct(shape) < int64_t{1} << 48) {
    return true;
  }
  findings->Problem(absl::StrCat(module.name, ".", ToAbsl(part)),
                    absl::StrCat("says [", shape[0], ", ", shape[1], "]"));
  return false;
}

}  // namespace

bool HasGaps(const StoredModule& module) {
  return module.Part("weight_packed")->info.shape[1] !=
         WordsFor(module.in_features, module.scheme.bits);
}

void MeasurePackQuantized(StoredModule& module, const TensorFolder& folder, Findings* findings) {
  module.scheme = Stored(4, DType::kBF16);
  if (!ExpectPart(module, "weight_packed", {DType::kI32}, {-1, -1}, findings) ||
      !ExpectPart(module, "weight_scale", kFloats, {-1, -1}, findings)) {
    return;
  }
  const std::vector<int64_t> shape = SmallPart(module, folder, "weight_shape", 2, findings);
  if (!PossibleShape(module, "weight_shape", shape, findings)) return;
  const auto packed = *Matrix(module, "weight_packed");
  const auto scales = *Matrix(module, "weight_scale");
  module.scheme.scale_dtype = module.Part("weight_scale")->info.dtype;
  module.scheme.symmetric = module.Part("weight_zero_point") == nullptr;
  module.reordered = module.Part("weight_g_idx") != nullptr;
  module.out_features = packed[0];
  module.in_features = shape[1];
  if (shape[0] != packed[0]) {
    findings->Problem(module.name + ".weight_shape",
                      absl::StrCat("says ", shape[0], " rows, weight_packed has ", packed[0]));
    return;
  }
  const int64_t out = module.out_features, in = module.in_features, groups = scales[1];
  module.scheme.bits = BitsOf(packed[1], in);
  if (module.scheme.bits == 0) {
    findings->Problem(module.name + ".weight_packed",
                      absl::StrCat(packed[1], " words for rows of ", in, " weights: no width"));
    return;
  }
  bool fits = ExpectPart(module, "weight_scale", kFloats, {out, -1}, findings);
  fits = SetGroups(module, groups, findings) && fits;
  if (!module.scheme.symmetric) {
    const int bits = module.scheme.bits;
    const int64_t words = HasGaps(module) ? DivideRoundingUp(out, 32 / bits) : WordsFor(out, bits);
    fits =
        ExpectPart(module, "weight_zero_point", {DType::kI32}, {words, groups}, findings) && fits;
  }
  if (module.reordered) {
    fits = ExpectPart(module, "weight_g_idx", {DType::kI32}, {in}, findings) && fits;
  }
  module.usable = fits;
}

void MeasureIntQuantized(StoredModule& module, const TensorFolder& /*folder*/, Findings* findings) {
  module.scheme = Stored(8, DType::kBF16);
  if (!ExpectPart(module, "weight", {DType::kI8}, {-1, -1}, findings)) return;
  const auto weight = *Matrix(module, "weight");
  module.out_features = weight[0];
  module.in_features = weight[1];
  const FolderTensor* scale = module.Part("weight_scale");
  if (scale == nullptr) {
    ExpectPart(module, "weight_scale", kFloats, {weight[0], 1}, findings);
    return;
  }
  module.scheme.scale_dtype = scale->info.dtype;
  module.scheme.activations = module.Part("input_scale") != nullptr
                                  ? ActivationScheme::kStatic
                                  : ActivationScheme::kDynamicToken;
  module.usable = true;
  if (scale->info.elements() == 1) {
    module.scheme.granularity = Granularity::kTensor;
  } else {
    module.usable = ExpectPart(module, "weight_scale", kFloats, {weight[0], -1}, findings) &&
                    SetGroups(module, scale->info.shape.back(), findings);
  }
}

void MeasureAwq(StoredModule& module, const TensorFolder& /*folder*/, Findings* findings) {
  module.scheme = Stored(4, DType::kF16);
  module.scheme.symmetric = false;
  if (!ExpectPart(module, "qweight", {DType::kI32}, {-1, -1}, findings) ||
      !ExpectPart(module, "scales", kFloats, {-1, -1}, findings)) {
    return;
  }
  const auto codes = *Matrix(module, "qweight");
  const auto scales = *Matrix(module, "scales");
  module.in_features = codes[0];
  module.out_features = codes[1] * 8;
  module.scheme.scale_dtype = module.Part("scales")->info.dtype;
  bool fits = ExpectPart(module, "scales", kFloats, {-1, module.out_features}, findings);
  fits = ExpectPart(module, "qzeros", {DType::kI32}, {scales[0], codes[1]}, findings) && fits;
  module.usable = SetGroups(module, scales[0], findings) && fits;
}

// Whether g_idx says anything but groups of neighbours. Numbers that are no groups are found where
// contents are checked.
static bool HasOrderedGroups(const StoredModule& module, const TensorFolder& folder) {
  const FolderTensor* index = module.Part("g_idx");
  if (index == nullptr || module.scheme.granularity != Granularity::kGroup) return false;
  const auto bytes = folder.ReadAll(*index);
  if (!bytes.ok()) return false;
  const int64_t width = SizeOf(index->info.dtype);
  for (int64_t k = 0; k < module.in_features; ++k) {
    int64_t group = 0;
    std::memcpy(&group, bytes->data() + k * width, static_cast<size_t>(width));
    if (group != k / module.scheme.group_size) return true;
  }
  return false;
}

void MeasureGptq(StoredModule& module, const TensorFolder& folder, Findings* findings) {
  module.scheme = Stored(4, DType::kF16);
  if (!ExpectPart(module, "qweight", {DType::kI32}, {-1, -1}, findings) ||
      !ExpectPart(module, "scales", kFloats, {-1, -1}, findings) ||
      !ExpectPart(module, "qzeros", {DType::kI32}, {-1, -1}, findings)) {
    return;
  }
  const auto codes = *Matrix(module, "qweight");
  const auto scales = *Matrix(module, "scales");
  const auto zeros = *Matrix(module, "qzeros");
  module.out_features = codes[1];
  module.scheme.scale_dtype = module.Part("scales")->info.dtype;
  module.scheme.bits = BitsOf(zeros[1], module.out_features);
  if (module.scheme.bits == 0) {
    findings->Problem(
        module.name + ".qzeros",
        absl::StrCat(zeros[1], " words for ", module.out_features, " outputs: no width of codes"));
    return;
  }
  module.in_features = codes[0] * 32 / module.scheme.bits;
  const int64_t in = module.in_features, out = module.out_features;
  bool fits = ExpectPart(module, "scales", kFloats, {-1, out}, findings);
  fits = ExpectPart(module, "qzeros", {DType::kI32}, {scales[0], zeros[1]}, findings) && fits;
  if (module.Part("g_idx") != nullptr) {
    fits = ExpectPart(module, "g_idx", {DType::kI32, DType::kI64}, {in}, findings) && fits;
  }
  module.usable = SetGroups(module, scales[0], findings) && fits;
  module.reordered = module.usable && HasOrderedGroups(module, folder);
  module.scheme.ordered_groups = module.reordered;
}

// Rows of W_q for `rows` groups of codes: several codes share a byte, from different parts of the
// matrix.
static int64_t HqqRows(int64_t rows, int64_t bits) {
  if (bits == 3) return DivideRoundingUp(rows, 10);
  return bits == 1 || bits == 2 || bits == 4 ? rows / (8 / bits) : rows;
}

void MeasureHqq(StoredModule& module, const TensorFolder& folder, Findings* findings) {
  module.scheme = Stored(4, DType::kF16);
  module.scheme.symmetric = false;
  module.scheme.real_zero = true;
  module.scheme.granularity = Granularity::kGroup;
  const std::vector<int64_t> shape = SmallPart(module, folder, "shape", 2, findings);
  if (!PossibleShape(module, "shape", shape, findings)) return;
  module.out_features = shape[0];
  module.in_features = shape[1];
  const std::vector<int64_t> bits = SmallPart(module, folder, "nbits", 1, findings);
  const std::vector<int64_t> group = SmallPart(module, folder, "group_size", 1, findings);
  const std::vector<int64_t> axis = SmallPart(module, folder, "axis", 1, findings);
  if (bits.empty() || group.empty() || axis.empty()) return;
  const int64_t weights = shape[0] * shape[1];
  if (bits[0] < 1 || bits[0] > 8 || group[0] < 1 || weights % group[0] != 0) {
    findings->Problem(module.name, absl::StrCat(bits[0], " bits in groups of ", group[0], " of ",
                                                weights, " weights"));
    return;
  }
  module.scheme.bits = static_cast<int>(bits[0]);
  module.scheme.group_size = group[0];
  const int64_t rows = weights / group[0];
  const DType codes = bits[0] == 3 ? DType::kI32 : DType::kU8;
  const bool by_row = axis[0] == 1;
  const int64_t packed = HqqRows(by_row ? rows : group[0], bits[0]);
  bool fits = ExpectPart(module, "W_q", {codes}, {packed, by_row ? group[0] : rows}, findings);
  const std::vector<int64_t> scales =
      by_row ? std::vector<int64_t>{rows, 1} : std::vector<int64_t>{1, rows};
  fits = ExpectPart(module, "scale", kFloats, scales, findings) && fits;
  fits = ExpectPart(module, "zero", kFloats, scales, findings) && fits;
  if (const FolderTensor* scale = module.Part("scale"); scale != nullptr) {
    module.scheme.scale_dtype = scale->info.dtype;
  }
  module.usable = fits;
}

}  // namespace quantd
