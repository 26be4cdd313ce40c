#include <utility>

#include "base/error.h"
#include "engine/model/forward.h"
#include "engine/model/norm.h"

namespace quantd {

absl::StatusOr<Head> Head::Load(const ModelSpec& model, const Checkpoint& checkpoint,
                                Backend& backend, ComputeType compute) {
  Head head;
  head.model_ = &model;
  head.backend_ = &backend;
  QD_ASSIGN_OR_RETURN(head.norm_, LoadNorm(model, model.final_norm, checkpoint, {}));
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

Head Head::WithNorm(NormWeights norm) const {
  Head head = *this;
  head.norm_ = std::move(norm);
  return head;
}

absl::Status Head::Logits(const float* x, int64_t tokens, float* logits) const {
  thread_local AlignedBuffer<float> normed;
  if (normed.size() < tokens * model_->hidden)
    normed = AlignedBuffer<float>(tokens * model_->hidden);
  RunNorm(*model_, norm_, x, tokens, model_->hidden, *backend_, normed.data());
  const float* bias = linear_.bias != nullptr ? linear_.bias->data() : nullptr;
  QD_RETURN_IF_ERROR(backend_->MatMul(normed.data(), tokens, *linear_.weight, bias, logits));
  const auto scale = static_cast<float>(model_->logit_scale);
  for (int64_t i = 0; scale != 1.0F && i < tokens * model_->vocabulary; ++i) logits[i] *= scale;
  if (model_->logit_softcap > 0) {
    backend_->SoftCap(logits, static_cast<float>(model_->logit_softcap),
                      tokens * model_->vocabulary);
  }
  return absl::OkStatus();
}

}  // namespace quantd
