#include "engine/block/folded_block.h"

#include <utility>

#include "base/error.h"
#include "engine/model/linear_weight.h"

namespace quantd {
namespace {

// The bias times the rows' factors; as it was where there are none.
SharedVector FoldedBias(const SharedVector& bias, const LinearFold& fold) {
  if (fold.rows.empty() || bias == nullptr) return bias;
  AlignedBuffer<float> values(bias->size());
  for (int64_t n = 0; n < values.size(); ++n) {
    values.data()[n] = bias->data()[n] * fold.rows[static_cast<size_t>(n)];
  }
  return std::make_shared<const AlignedBuffer<float>>(std::move(values));
}

}  // namespace

absl::StatusOr<AlignedBuffer<float>> FoldedValues(const Checkpoint& checkpoint,
                                                  const LinearSpec& linear,
                                                  const LinearFold& fold) {
  AlignedBuffer<float> values(linear.parameters());
  QD_RETURN_IF_ERROR(ReadLinearRowsF32(checkpoint, linear, 0, linear.out_features, values.data()));
  fold.Apply(0, linear.out_features, linear.in_features, values.data());
  return values;
}

absl::Status WriteUnquantized(const PlannedQuantization& planned, const LinearSpec& linear,
                              const LinearFold& fold, ArtifactWriter& artifact) {
  const std::string tensor = linear.name + ".weight";
  if (fold.empty()) return artifact.CopyTensor(planned.checkpoint, tensor);
  QD_ASSIGN_OR_RETURN(const AlignedBuffer<float> values,
                      FoldedValues(planned.checkpoint, linear, fold));
  return artifact.WriteValues(tensor, values.span());
}

absl::StatusOr<BlockWeights> FoldedWeights(const PlannedQuantization& planned,
                                           const BlockSpec& block, const BlockWeights& original,
                                           const BlockFold& fold, const ForwardContext& context) {
  BlockWeights weights = original;
  QD_ASSIGN_OR_RETURN(weights.norms,
                      LoadNorms(context.model, block, planned.checkpoint, fold.norms));
  for (size_t i = 0; i < block.linears.size(); ++i) {
    const LinearSpec& linear = block.linears[i];
    weights.linears[i].bias = FoldedBias(weights.linears[i].bias, fold.linears[i]);
    if (linear.role != LinearRole::kRouter || fold.linears[i].empty()) continue;
    QD_ASSIGN_OR_RETURN(const AlignedBuffer<float> values,
                        FoldedValues(planned.checkpoint, linear, fold.linears[i]));
    const WeightRows rows = {values.data(), DType::kF32, linear.out_features, linear.in_features};
    QD_ASSIGN_OR_RETURN(weights.linears[i].weight, context.backend.Prepare(rows, context.compute));
  }
  return weights;
}

}  // namespace quantd
