#include "engine/model/norm.h"

#include <algorithm>
#include <utility>

#include "base/error.h"

namespace quantd {
namespace {

absl::StatusOr<SharedVector> LoadVector(const Checkpoint& checkpoint, const std::string& name,
                                        const ReplacedNorms& replaced, double offset) {
  if (name.empty()) return nullptr;
  AlignedBuffer<float> values;
  if (const auto found = replaced.find(name); found != replaced.end()) {
    values = AlignedBuffer<float>(static_cast<int64_t>(found->second.size()));
    std::copy(found->second.begin(), found->second.end(), values.data());
  } else {
    QD_ASSIGN_OR_RETURN(values, checkpoint.ReadF32(name));
  }
  for (float& value : values.span()) value += static_cast<float>(offset);
  return std::make_shared<const AlignedBuffer<float>>(std::move(values));
}

}  // namespace

absl::StatusOr<NormWeights> LoadNorm(const ModelSpec& model, const NormSpec& norm,
                                     const Checkpoint& checkpoint, const ReplacedNorms& replaced) {
  NormWeights weights;
  QD_ASSIGN_OR_RETURN(weights.gain, LoadVector(checkpoint, norm.gain, replaced, model.gain_offset));
  QD_ASSIGN_OR_RETURN(weights.bias, LoadVector(checkpoint, norm.bias, replaced, 0));
  return weights;
}

absl::StatusOr<std::array<NormWeights, kNormRoles>> LoadNorms(const ModelSpec& model,
                                                              const BlockSpec& block,
                                                              const Checkpoint& checkpoint,
                                                              const ReplacedNorms& replaced) {
  std::array<NormWeights, kNormRoles> norms;
  for (size_t i = 0; i < kNormRoles; ++i) {
    QD_ASSIGN_OR_RETURN(norms[i], LoadNorm(model, block.norms[i], checkpoint, replaced));
  }
  return norms;
}

void RunNorm(const ModelSpec& model, const NormWeights& norm, const float* x, int64_t rows,
             int64_t width, Backend& backend, float* y) {
  const auto epsilon = static_cast<float>(model.norm_epsilon);
  if (model.norm_kind == NormKind::kRms) {
    backend.RmsNorm(x, norm.gain->data(), rows, width, epsilon, y);
  } else {
    const float* bias = norm.bias != nullptr ? norm.bias->data() : nullptr;
    backend.LayerNorm(x, norm.gain->data(), bias, rows, width, epsilon, y);
  }
}

}  // namespace quantd
