#include "engine/model/forward.h"

#include <bit>
#include <cmath>
#include <utility>

#include "base/error.h"

namespace quantd {
namespace {

// What lies between the linears of a block, kept by each thread between calls.
class Buffers {
 public:
  enum Slot { kNormed, kQ, kK, kV, kAttended, kGate, kUp, kOut, kSlots };
  float* Get(Slot slot, int64_t count) {
    if (buffers_[slot].size() < count) {
      buffers_[slot] = {};
      buffers_[slot] = AlignedBuffer<float>(count);
    }
    return buffers_[slot].data();
  }

 private:
  AlignedBuffer<float> buffers_[kSlots];
};

Buffers& ThreadBuffers() {
  thread_local Buffers buffers;
  return buffers;
}

bool AllFinite(const float* values, int64_t count) {
  // A finite float has an exponent below the largest, so adding one to its exponent does not reach
  // the sign.
  uint32_t carries = 0;
  for (int64_t i = 0; i < count; ++i) {
    carries |= (std::bit_cast<uint32_t>(values[i]) & 0x7fffffffU) + 0x00800000U;
  }
  return (carries & 0x80000000U) == 0;
}

absl::StatusOr<std::shared_ptr<const AlignedBuffer<float>>> LoadVector(const Checkpoint& checkpoint,
                                                                       const std::string& name) {
  if (name.empty()) return nullptr;
  QD_ASSIGN_OR_RETURN(AlignedBuffer<float> values, checkpoint.ReadF32(name));
  return std::make_shared<const AlignedBuffer<float>>(std::move(values));
}

// One block on one window.
class BlockRun {
 public:
  BlockRun(const ModelSpec& model, const BlockSpec& block, const BlockWeights& weights,
           Backend& backend, int64_t tokens, InputObserver* observer)
      : model_(model),
        block_(block),
        weights_(weights),
        backend_(backend),
        tokens_(tokens),
        observer_(observer),
        buffers_(ThreadBuffers()) {}

  // x += o(attention(rope(q(n)), rope(k(n)), v(n))), n = norm(x).
  absl::Status Attend(const RopeTable& rope, ComputeType compute, float* x) {
    const int64_t d = model_.head_dim, q_width = model_.heads * d, kv_width = model_.kv_heads * d;
    const float* normed = Norm(x, *weights_.input_norm);
    float* q = buffers_.Get(Buffers::kQ, tokens_ * q_width);
    float* k = buffers_.Get(Buffers::kK, tokens_ * kv_width);
    float* v = buffers_.Get(Buffers::kV, tokens_ * kv_width);
    QD_RETURN_IF_ERROR(Linear(LinearRole::kQ, normed, q));
    QD_RETURN_IF_ERROR(Linear(LinearRole::kK, normed, k));
    QD_RETURN_IF_ERROR(Linear(LinearRole::kV, normed, v));
    const auto epsilon = static_cast<float>(model_.norm_epsilon);
    if (weights_.q_norm != nullptr) {
      backend_.RmsNorm(q, weights_.q_norm->data(), tokens_ * model_.heads, d, epsilon, q);
    }
    if (weights_.k_norm != nullptr) {
      backend_.RmsNorm(k, weights_.k_norm->data(), tokens_ * model_.kv_heads, d, epsilon, k);
    }
    backend_.Rope(q, tokens_, model_.heads, d, rope.half_dims, rope.cos.data(), rope.sin.data());
    backend_.Rope(k, tokens_, model_.kv_heads, d, rope.half_dims, rope.cos.data(), rope.sin.data());

    const AttentionShape shape{
        .tokens = tokens_,
        .heads = model_.heads,
        .kv_heads = model_.kv_heads,
        .head_dim = d,
        .window = block_.sliding_window.value_or(0),
        .scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(d)))};
    float* attended = buffers_.Get(Buffers::kAttended, tokens_ * q_width);
    QD_RETURN_IF_ERROR(backend_.Attention(q, k, v, shape, compute, attended));
    float* out = buffers_.Get(Buffers::kOut, tokens_ * model_.hidden);
    QD_RETURN_IF_ERROR(Linear(LinearRole::kO, attended, out));
    backend_.Add(x, out, tokens_ * model_.hidden);
    return absl::OkStatus();
  }

  // x += down(silu(gate(n)) * up(n)), n = norm(x).
  absl::Status RunMlp(float* x) {
    const float* normed = Norm(x, *weights_.post_attention_norm);
    float* gate = buffers_.Get(Buffers::kGate, tokens_ * model_.intermediate);
    float* up = buffers_.Get(Buffers::kUp, tokens_ * model_.intermediate);
    QD_RETURN_IF_ERROR(Linear(LinearRole::kGate, normed, gate));
    QD_RETURN_IF_ERROR(Linear(LinearRole::kUp, normed, up));
    backend_.SiluMultiply(gate, up, tokens_ * model_.intermediate);
    float* out = buffers_.Get(Buffers::kOut, tokens_ * model_.hidden);
    QD_RETURN_IF_ERROR(Linear(LinearRole::kDown, gate, out));
    backend_.Add(x, out, tokens_ * model_.hidden);
    return absl::OkStatus();
  }

 private:
  const float* Norm(const float* x, const AlignedBuffer<float>& gain) {
    float* normed = buffers_.Get(Buffers::kNormed, tokens_ * model_.hidden);
    backend_.RmsNorm(x, gain.data(), tokens_, model_.hidden,
                     static_cast<float>(model_.norm_epsilon), normed);
    return normed;
  }

  absl::Status Linear(LinearRole role, const float* x, float* y) {
    const LinearSpec* spec = block_.Find(role);
    if (spec == nullptr)
      return MakeError(Reason::kInternal, "the block lacks a linear: " + std::string(NameOf(role)));
    if (observer_ != nullptr && spec->input != observed_) {
      observer_->OnInput(spec->input, x, tokens_, spec->in_features);
      observed_ = spec->input;
    }
    const PreparedLinear& linear =
        weights_.linears[static_cast<size_t>(spec - block_.linears.data())];
    const float* bias = linear.bias != nullptr ? linear.bias->data() : nullptr;
    return backend_.MatMul(x, tokens_, *linear.weight, bias, y);
  }

  const ModelSpec& model_;
  const BlockSpec& block_;
  const BlockWeights& weights_;
  Backend& backend_;
  int64_t tokens_;
  InputObserver* observer_;
  int observed_ = -1;  // linears that share an input stand together: it is shown once
  Buffers& buffers_;
};

}  // namespace

absl::StatusOr<BlockWeights> LoadBlock(const ModelSpec& model, const BlockSpec& block,
                                       const Checkpoint& checkpoint, Backend& backend,
                                       ComputeType compute) {
  const ComputeType precision = backend.Resolve(compute, model.dtype);
  BlockWeights weights;
  for (const LinearSpec& spec : block.linears) {
    PreparedLinear linear;
    QD_ASSIGN_OR_RETURN(const Tensor tensor, checkpoint.Read(spec.name + ".weight"));
    QD_ASSIGN_OR_RETURN(linear.weight, backend.Prepare(tensor.Rows(), precision));
    QD_ASSIGN_OR_RETURN(linear.bias,
                        LoadVector(checkpoint, spec.has_bias ? spec.name + ".bias" : ""));
    weights.linears.push_back(std::move(linear));
  }
  QD_ASSIGN_OR_RETURN(weights.input_norm, LoadVector(checkpoint, block.input_norm));
  QD_ASSIGN_OR_RETURN(weights.post_attention_norm,
                      LoadVector(checkpoint, block.post_attention_norm));
  QD_ASSIGN_OR_RETURN(weights.q_norm, LoadVector(checkpoint, block.q_norm));
  QD_ASSIGN_OR_RETURN(weights.k_norm, LoadVector(checkpoint, block.k_norm));
  return weights;
}

absl::Status ForwardBlock(const ModelSpec& model, const BlockSpec& block,
                          const BlockWeights& weights, const RopeTable& rope, Backend& backend,
                          ComputeType compute, int64_t tokens, float* x, InputObserver* observer) {
  BlockRun run(model, block, weights, backend, tokens, observer);
  QD_RETURN_IF_ERROR(run.Attend(rope, backend.Resolve(compute, model.dtype), x));
  QD_RETURN_IF_ERROR(run.RunMlp(x));
  if (!AllFinite(x, tokens * model.hidden)) {
    return MakeError(Reason::kModelNotFinite, "activations are not finite",
                     Violation{block.prefix, "NaN or infinity after the block", "finite numbers"});
  }
  return absl::OkStatus();
}

}  // namespace quantd
