#include "engine/block/residual_rotation.h"

#include <string>
#include <vector>

#include "base/error.h"
#include "engine/model/residual_stream.h"

namespace quantd {
namespace {

// Moves the gain of the norm into what the linear does.
absl::Status TakeGain(const std::string& norm, const Checkpoint& checkpoint, Transform& linear,
                      ReplacedNorms& norms) {
  QD_ASSIGN_OR_RETURN(const AlignedBuffer<float> gain, checkpoint.ReadF32(norm));
  linear.gain.assign(gain.span().begin(), gain.span().end());
  norms[norm] = std::vector<float>(linear.gain.size(), 1.0F);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<BlockTransform> RotationOfBlock(const BlockSpec& block, const Checkpoint& checkpoint,
                                               const std::shared_ptr<const Rotation>& rotation) {
  BlockTransform transform;
  for (const LinearSpec& linear : block.linears) {
    Transform& one = transform.linears.emplace_back();
    if (SideOf(linear.role) == ResidualSide::kWrites) one.output = rotation;
    if (SideOf(linear.role) != ResidualSide::kReads) continue;
    one.input = rotation;
    QD_RETURN_IF_ERROR(TakeGain(NormBefore(block, linear).gain, checkpoint, one, transform.norms));
  }
  return transform;
}

absl::StatusOr<BlockTransform> RotationOfHead(const ModelSpec& model, const Checkpoint& checkpoint,
                                              const std::shared_ptr<const Rotation>& rotation) {
  BlockTransform transform;
  Transform& head = transform.linears.emplace_back();
  head.input = rotation;
  QD_RETURN_IF_ERROR(TakeGain(model.final_norm.gain, checkpoint, head, transform.norms));
  return transform;
}

absl::Status HoldTransformed(const BlockTransform& transform, std::span<WeightSource> sources) {
  for (size_t i = 0; i < sources.size(); ++i) {
    const LinearSpec& linear = sources[i].linear();
    QD_RETURN_IF_ERROR(sources[i].HoldEdited([&](float* values) {
      return transform.linears[i].Apply(0, linear.out_features, linear.in_features, values);
    }));
  }
  return absl::OkStatus();
}

}  // namespace quantd
