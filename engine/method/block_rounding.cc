#include "engine/method/block_rounding.h"

#include <vector>

#include "base/error.h"
#include "engine/method/round_to_nearest.h"

namespace quantd {

BlockSearch SearchOf(ScaleRule rule) {
  return rule == ScaleRule::kAbsmax ? BlockSearch::kRange : BlockSearch::kError;
}

absl::Status RoundToBlocks(const WeightRows& weight, const Scheme& scheme, const Prepared* prepared,
                           const MethodContext& context, QuantizedRows* out) {
  *out = RoomFor(scheme, weight.rows, weight.columns);
  const BlockType& type = *scheme.block;
  const int64_t columns = weight.columns, blocks = columns / type.elements;
  const bool weighted = prepared != nullptr && !prepared->importance.empty();
  std::vector<float> row(static_cast<size_t>(columns)), back(row.size());
  const BlockSource source = {.weights = row.data(),
                              .importance = weighted ? prepared->importance.data() : nullptr,
                              .search = SearchOf(scheme.scale_rule)};
  for (int64_t n = 0; n < weight.rows; ++n) {
    QD_RETURN_IF_ERROR(WidenRow(weight, n, context.kernels, row.data()));
    type.encode(type, source, blocks, out->blocks.data() + n * type.RowBytes(columns));
    out->Dequantize(n, back.data());
    AddEnergies(row, back, &out->weight_energy, &out->error_energy);
  }
  return absl::OkStatus();
}

double BlockRoundingError(const Scheme& scheme, const float* weights, const float* importance,
                          int64_t count, float* errors) {
  const BlockType& type = *scheme.block;
  const bool weighted = scheme.scale_rule == ScaleRule::kWeightedMse;
  std::vector<std::byte> blocks(static_cast<size_t>(type.RowBytes(count)));
  std::vector<float> rounded(static_cast<size_t>(count));
  const BlockSource source = {.weights = weights,
                              .importance = weighted ? importance : nullptr,
                              .search = SearchOf(scheme.scale_rule)};
  type.encode(type, source, count / type.elements, blocks.data());
  type.decode(type, blocks.data(), count / type.elements, rounded.data());
  double sum = 0;
  for (size_t k = 0; k < rounded.size(); ++k) {
    const float error = rounded[k] - weights[k];
    sum += static_cast<double>(importance[k] * error * error);
    if (errors != nullptr) errors[k] = error;
  }
  return sum;
}

}  // namespace quantd
