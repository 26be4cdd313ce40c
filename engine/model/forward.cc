#include "engine/model/forward.h"

#include <bit>
#include <utility>

#include "base/error.h"
#include "engine/model/block_run.h"
#include "engine/model/norm.h"
#include "engine/model/weight_source.h"

namespace quantd {
namespace {

bool AllFinite(const float* values, int64_t count) {
  // A finite float has an exponent below the largest, so adding one to its exponent does not reach
  // the sign.
  uint32_t carries = 0;
  for (int64_t i = 0; i < count; ++i) {
    carries |= (std::bit_cast<uint32_t>(values[i]) & 0x7fffffffU) + 0x00800000U;
  }
  return (carries & 0x80000000U) == 0;
}

// out = mlp(normed), of the one MLP or of the experts.
absl::Status FeedForward(BlockRun& run, const float* normed, float* out) {
  return run.block.mixture.has_value() ? RunMixture(run, *run.block.mixture, normed, out)
                                       : RunMlp(run, -1, normed, run.tokens, out);
}

// x += added, by the model's scale.
void AddToStream(BlockRun& run, float* added, float* x) {
  const int64_t count = run.tokens * run.model.hidden;
  const auto scale = static_cast<float>(run.model.residual_scale);
  for (int64_t i = 0; scale != 1.0F && i < count; ++i) added[i] *= scale;
  run.backend.Add(x, added, count);
}

// x += attention(norm(x)); x += mlp(norm(x)).
absl::Status RunSequential(BlockRun& run, float* x) {
  const int64_t count = run.tokens * run.model.hidden;
  float* out = run.buffers.Get(BlockBuffers::kAttentionOut, count);
  const float* normed = run.Norm(NormRole::kAttention, x, BlockBuffers::kNormed);
  QD_RETURN_IF_ERROR(Attend(run, normed, out));
  run.NormInPlace(NormRole::kAttentionOut, out);
  AddToStream(run, out, x);

  normed = run.Norm(NormRole::kMlp, x, BlockBuffers::kNormed);
  QD_RETURN_IF_ERROR(FeedForward(run, normed, out));
  run.NormInPlace(NormRole::kMlpOut, out);
  AddToStream(run, out, x);
  return absl::OkStatus();
}

// x += attention(norm(x)) + mlp(norm'(x)), norm' being norm where the block has but one.
absl::Status RunParallel(BlockRun& run, float* x) {
  const int64_t count = run.tokens * run.model.hidden;
  float* attended = run.buffers.Get(BlockBuffers::kAttentionOut, count);
  float* fed = run.buffers.Get(BlockBuffers::kMlpOut, count);
  const float* normed = run.Norm(NormRole::kAttention, x, BlockBuffers::kNormed);
  QD_RETURN_IF_ERROR(Attend(run, normed, attended));
  if (run.block.Has(NormRole::kMlp)) {
    normed = run.Norm(NormRole::kMlp, x, BlockBuffers::kNormedForMlp);
  }
  QD_RETURN_IF_ERROR(FeedForward(run, normed, fed));
  AddToStream(run, attended, x);
  AddToStream(run, fed, x);
  return absl::OkStatus();
}

}  // namespace

float* BlockBuffers::Get(Slot slot, int64_t count) {
  if (buffers_[slot].size() < count) {
    buffers_[slot] = {};
    buffers_[slot] = AlignedBuffer<float>(count);
  }
  return buffers_[slot].data();
}

BlockBuffers& ThreadBuffers() {
  thread_local BlockBuffers buffers;
  return buffers;
}

absl::Status BlockRun::Linear(LinearRole role, int expert, const float* x, int64_t rows, float* y) {
  const LinearSpec* spec = block.Find(role, expert);
  if (spec == nullptr)
    return MakeError(Reason::kInternal, "the block lacks a linear: " + std::string(NameOf(role)));
  if (observer != nullptr) {
    const auto input = static_cast<size_t>(spec->input);
    if (shown.size() <= input) shown.resize(input + 1);
    if (!shown[input]) observer->OnInput(spec->input, x, rows, spec->in_features);
    shown[input] = true;
  }
  const PreparedLinear& linear = weights.linears[static_cast<size_t>(spec - block.linears.data())];
  const float* bias = linear.bias != nullptr ? linear.bias->data() : nullptr;
  return backend.MatMul(x, rows, *linear.weight, bias, y);
}

const float* BlockRun::Norm(NormRole role, const float* x, BlockBuffers::Slot slot) {
  if (!block.Has(role)) return x;
  float* normed = buffers.Get(slot, tokens * model.hidden);
  RunNorm(model, weights.norms[static_cast<size_t>(role)], x, tokens, model.hidden, backend,
          normed);
  return normed;
}

void BlockRun::NormInPlace(NormRole role, float* x) {
  if (!block.Has(role)) return;
  RunNorm(model, weights.norms[static_cast<size_t>(role)], x, tokens, model.hidden, backend, x);
}

namespace {

absl::StatusOr<std::shared_ptr<PreparedWeight>> Prepare(const WeightSource& source,
                                                        Backend& backend, ComputeType compute) {
  AlignedBuffer<std::byte> read;
  std::optional<WeightRows> rows = source.Held();
  if (!rows.has_value()) {
    const LinearSpec& linear = source.linear();
    read = AlignedBuffer<std::byte>(source.bytes());
    QD_RETURN_IF_ERROR(source.Read(0, linear.out_features, read.span()));
    rows = WeightRows{read.data(), source.dtype(), linear.out_features, linear.in_features};
  }
  QD_ASSIGN_OR_RETURN(auto prepared, backend.Prepare(*rows, compute));
  return std::shared_ptr<PreparedWeight>(std::move(prepared));
}

}  // namespace

absl::StatusOr<BlockWeights> LoadBlock(const ModelSpec& model, const BlockSpec& block,
                                       std::span<const WeightSource> sources,
                                       const Checkpoint& checkpoint, Backend& backend,
                                       ComputeType compute) {
  const ComputeType precision = backend.Resolve(compute, model.dtype);
  BlockWeights weights;
  for (const WeightSource& source : sources) {
    PreparedLinear linear;
    QD_ASSIGN_OR_RETURN(linear.weight, Prepare(source, backend, precision));
    if (source.linear().has_bias) {
      QD_ASSIGN_OR_RETURN(AlignedBuffer<float> bias,
                          checkpoint.ReadF32(source.linear().name + ".bias"));
      linear.bias = std::make_shared<const AlignedBuffer<float>>(std::move(bias));
    }
    weights.linears.push_back(std::move(linear));
  }
  QD_ASSIGN_OR_RETURN(weights.norms, LoadNorms(model, block, checkpoint));
  if (block.mixture.has_value() && !block.mixture->correction.empty()) {
    QD_ASSIGN_OR_RETURN(AlignedBuffer<float> correction,
                        checkpoint.ReadF32(block.mixture->correction));
    weights.correction = std::make_shared<const AlignedBuffer<float>>(std::move(correction));
  }
  return weights;
}

absl::Status ForwardBlock(const ModelSpec& model, const BlockSpec& block,
                          const BlockWeights& weights, const RopeTables& ropes, Backend& backend,
                          ComputeType compute, int64_t tokens, float* x, InputObserver* observer) {
  BlockRun run{.model = model,
               .block = block,
               .weights = weights,
               .rope = ropes.Of(block),
               .backend = backend,
               .compute = backend.Resolve(compute, model.dtype),
               .tokens = tokens,
               .observer = observer,
               .buffers = ThreadBuffers()};
  QD_RETURN_IF_ERROR(block.parallel ? RunParallel(run, x) : RunSequential(run, x));
  if (!AllFinite(x, tokens * model.hidden)) {
    return MakeError(Reason::kModelNotFinite, "activations are not finite",
                     Violation{block.prefix, "NaN or infinity after the block", "finite numbers"});
  }
  return absl::OkStatus();
}

}  // namespace quantd
