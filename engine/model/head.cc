#include <utility>

#include "base/error.h"
#include "engine/model/forward.h"

namespace quantd {

absl::StatusOr<Head> Head::Load(const ModelSpec& model, const Checkpoint& checkpoint,
                                Backend& backend, ComputeType compute) {
  Head head;
  head.model_ = &model;
  head.backend_ = &backend;
  QD_ASSIGN_OR_RETURN(AlignedBuffer<float> norm, checkpoint.ReadF32(model.final_norm));
  head.norm_ = std::make_shared<const AlignedBuffer<float>>(std::move(norm));
  QD_ASSIGN_OR_RETURN(const Tensor tensor, checkpoint.Read(model.head_tensor));
  QD_ASSIGN_OR_RETURN(head.linear_.weight,
                      backend.Prepare(tensor.Rows(), backend.Resolve(compute, model.dtype)));
  return head;
}

Head Head::WithLinear(PreparedLinear linear) const {
  Head head = *this;
  head.linear_ = std::move(linear);
  return head;
}

absl::Status Head::Logits(const float* x, int64_t tokens, float* logits) const {
  thread_local AlignedBuffer<float> normed;
  if (normed.size() < tokens * model_->hidden)
    normed = AlignedBuffer<float>(tokens * model_->hidden);
  backend_->RmsNorm(x, norm_->data(), tokens, model_->hidden,
                    static_cast<float>(model_->norm_epsilon), normed.data());
  const float* bias = linear_.bias != nullptr ? linear_.bias->data() : nullptr;
  return backend_->MatMul(normed.data(), tokens, *linear_.weight, bias, logits);
}

}  // namespace quantd
