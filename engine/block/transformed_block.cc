#include "engine/block/transformed_block.h"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>

#include "base/error.h"

namespace quantd {
namespace {

// As it was where the transform leaves it alone.
SharedVector TransformedBias(const SharedVector& bias, const Transform& transform) {
  if (transform.rows.empty() || bias == nullptr) return bias;
  AlignedBuffer<float> values(bias->size());
  std::copy(bias->span().begin(), bias->span().end(), values.data());
  transform.ApplyToBias(values.span());
  return std::make_shared<const AlignedBuffer<float>>(std::move(values));
}

}  // namespace

absl::Status WriteNorms(const Block& block, const Checkpoint& checkpoint, PackedTensors& tensors) {
  for (const std::string& norm : block.spec.NormTensors()) {
    const auto replaced = block.transform.norms.find(norm);
    if (replaced == block.transform.norms.end()) {
      QD_RETURN_IF_ERROR(tensors.Copy(checkpoint, norm));
    } else {
      QD_RETURN_IF_ERROR(tensors.WriteValues(norm, replaced->second));
    }
  }
  const auto& mixture = block.spec.mixture;
  if (!mixture.has_value() || mixture->correction.empty()) return absl::OkStatus();
  return tensors.Copy(checkpoint, mixture->correction);
}

absl::Status WriteBias(const Block& block, size_t index, const Checkpoint& checkpoint,
                       PackedTensors& tensors) {
  const LinearSpec& linear = block.spec.linears[index];
  if (!linear.has_bias) return absl::OkStatus();
  const Transform& transform = block.transform.linears[index];
  const std::string tensor = linear.name + ".bias";
  if (transform.rows.empty()) return tensors.Copy(checkpoint, tensor);
  QD_ASSIGN_OR_RETURN(AlignedBuffer<float> bias, checkpoint.ReadF32(tensor));
  transform.ApplyToBias(bias.span());
  return tensors.WriteValues(tensor, bias.span());
}

absl::Status WriteUnquantized(const Block& block, size_t index, const Checkpoint& checkpoint,
                              PackedTensors& tensors) {
  const WeightSource& source = block.sources[index];
  const Transform& transform = block.transform.linears[index];
  if (transform.empty() && source.Held().has_value() && !source.linear().transposed) {
    return tensors.WriteRows(source.tensor(), *source.Held());
  }
  if (transform.empty()) return tensors.Copy(checkpoint, source.tensor());
  QD_ASSIGN_OR_RETURN(const AlignedBuffer<float> values, TransformedValues(source, transform));
  return tensors.WriteValues(source.tensor(), values.span());
}

absl::StatusOr<BlockWeights> TransformedWeights(const Checkpoint& checkpoint, const Block& block,
                                                const BlockWeights& original,
                                                const ForwardContext& context) {
  BlockWeights weights = original;
  QD_ASSIGN_OR_RETURN(weights.norms,
                      LoadNorms(context.model, block.spec, checkpoint, block.transform.norms));
  for (size_t i = 0; i < block.spec.linears.size(); ++i) {
    const LinearSpec& linear = block.spec.linears[i];
    const Transform& transform = block.transform.linears[i];
    weights.linears[i].bias = TransformedBias(weights.linears[i].bias, transform);
    if (!IsRouting(linear.role) || transform.empty()) continue;
    QD_ASSIGN_OR_RETURN(const AlignedBuffer<float> values,
                        TransformedValues(block.sources[i], transform));
    const WeightRows rows = {values.data(), DType::kF32, linear.out_features, linear.in_features};
    QD_ASSIGN_OR_RETURN(weights.linears[i].weight, context.backend.Prepare(rows, context.compute));
  }
  return weights;
}

}  // namespace quantd
