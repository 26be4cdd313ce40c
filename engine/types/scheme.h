// How one linear is quantized, fully resolved; and the result.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/tensor/block_type.h"
#include "engine/tensor/dtype.h"
#include "engine/types/number_format.h"
#include "engine/types/options.h"

namespace quantd {

// Over which weights one scale is shared: the whole tensor, one output channel (row), or
// `group_size` inputs of one row, neighbours unless Scheme::ordered_groups.
enum class Granularity { kTensor, kChannel, kGroup };

// How a scale is chosen. kAbsmax: the range of the group (symmetric: absmax / qmax-ish as in
// docs/numerics.md; asymmetric: min-max with zero in range). kMse: a grid around it that minimises
// the squared error, for symmetric schemes over both signs of the scale (a negative scale is legal
// for every loader) with least-squares refinement. kWeightedMse: the same with each input channel's
// error weighted by mean x^2 of the calibration data. kHessian: the same with the error of a group
// measured as d^T G d, G the group's own block of the Gram matrix X^T X (the "local Hessian").
enum class ScaleRule { kAbsmax, kMse, kWeightedMse, kHessian };

// What happens to the inputs of the linear at run time: stay in 16 bit; int8 with one symmetric
// scale per token, found at run time; int8 with one scale (and zero point) for all tokens, found in
// calibration.
enum class ActivationScheme { kNone, kDynamicToken, kStatic };

std::string_view NameOf(Granularity granularity);  // "tensor", "channel", "group"
std::string_view NameOf(ScaleRule rule);           // "absmax", "mse", "weighted-mse", "hessian"
std::string_view NameOf(ActivationScheme activations);  // "none", "dynamic", "static"

struct Scheme {
  std::string method;  // registry name: "rtn", "int8"
  int bits = 4;        // 1..8; what one code takes in storage
  // Of floating formats, with `bits` theirs; null: integers of `bits`. They are symmetric.
  const NumberFormat* number = nullptr;
  Granularity granularity = Granularity::kGroup;
  int64_t group_size = 128;  // 0 unless granularity is kGroup
  // With kGroup: groups are of inputs in falling order of their importance, wherever they lie, and
  // QuantizedRows::group_of says which; otherwise of neighbours.
  bool ordered_groups = false;
  bool symmetric = true;
  bool real_zero = false;  // zero points are real numbers; not when symmetric
  ScaleRule scale_rule = ScaleRule::kMse;
  ActivationScheme activations = ActivationScheme::kNone;
  DType scale_dtype = DType::kBF16;  // scales are rounded to this before codes are chosen
  // With ScaleKind::kE4M3: what scales are divided by once they are rounded, one for the linear. 0
  // until all its weights are known, which is while they are quantized.
  float tensor_scale = 0;
  Options options;     // of the method alone, all of them
  std::string layout;  // which of the format's layouts, where it has several; of blocks the mixture
  // Blocks of a file format instead of codes, scales and zeros; `bits` is that of their codes, and
  // how scales are shared the type's affair: of the methods' fields a group is a block, if any.
  const BlockType* block = nullptr;

  bool floating() const { return number != nullptr && number->floating(); }
  int qmin() const { return -(1 << (bits - 1)); }
  int qmax() const { return (1 << (bits - 1)) - 1; }
  // Scales per row of K inputs; K is a multiple of group_size when granularity is kGroup.
  int64_t GroupsPerRow(int64_t in_features) const {
    return granularity == Granularity::kGroup ? in_features / group_size : 1;
  }
  // Rows that share the scales of each group; whoever quantizes rows has all of them at once.
  int64_t RowsPerScale() const { return number != nullptr ? number->group_rows : 1; }
  bool operator==(const Scheme&) const = default;
};

// Bits that the codes, scales and zeros of a linear [N, K] take, and 32 per input where groups are
// not of neighbours, whatever the padding of a format.
int64_t StorageBits(const Scheme& scheme, int64_t out_features, int64_t in_features);

// "rtn int4 g128 sym mse", for tables and logs.
std::string Describe(const Scheme& scheme);

// The int8 codes of a linear's inputs, the same for all tokens: x ~ (code - zero) * scale. With a
// floating format the scale is that of its codes, or, with ScaleKind::kE4M3, the tensor scale of
// the inputs, and zero is 0.
struct StaticInput {
  float scale = 1;
  int zero = 0;
};

// Figures that a method reports of a linear beside those that every method has, by name:
// {"alpha", 0.35}.
using Figures = std::vector<std::pair<std::string, double>>;

// Quantized rows: w[n][k] ~ (code[n][k] - zero[n][g]) * scale[n][g], g the group of k. Codes and
// zeros are signed, in [scheme.qmin(), scheme.qmax()]; zero is 0 when the scheme is symmetric. With
// kTensor all rows carry the same scale, and with Scheme::RowsPerScale those of a block. With a
// floating format codes are the bits of an element, and scales what they are multiplied by: of
// ScaleKind::kE4M3 that over the tensor scale.
struct QuantizedRows {
  int64_t rows = 0, columns = 0, groups = 0;  // groups per row
  std::vector<int8_t> codes;                  // [rows, columns]
  std::vector<float>
      scales;  // [rows, groups], exactly representable in scale_dtype; may be negative
  std::vector<int8_t> zeros;             // [rows, groups]; empty when symmetric or real_zero
  std::vector<float> real_zeros;         // [rows, groups], with real_zero alone; representable in
                                         // scale_dtype
  std::vector<int32_t> group_of;         // [columns] with Scheme::ordered_groups; empty: neighbours
  const NumberFormat* number = nullptr;  // as Scheme::number
  const BlockType* block = nullptr;      // with Scheme::block: these instead of all of the above
  std::vector<std::byte> blocks;         // [rows, block->RowBytes(columns)]
  std::optional<StaticInput> input;      // with ActivationScheme::kStatic
  // Sums over these rows, for the report: of w^2 and of (w - dequantized)^2.
  double weight_energy = 0, error_energy = 0;

  // Row `row` as a loader computes it, to[columns].
  void Dequantize(int64_t row, float* to) const;
};

// Rows [0, rows) of a linear with room for every part that the scheme has.
QuantizedRows RoomFor(const Scheme& scheme, int64_t rows, int64_t columns);

}  // namespace quantd
