// One block on one window: what attention, MLP and mixture share. Inside engine/model only.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "engine/model/forward.h"

namespace quantd {

// What lies between the linears of a block, kept by each thread between calls.
class BlockBuffers {
 public:
  enum Slot {
    kNormed,
    kNormedForMlp,
    kFused,
    kQ,
    kK,
    kV,
    kAttended,
    kGate,
    kUp,
    kAttentionOut,
    kMlpOut,
    kScores,
    kRouted,
    kRoutedOut,
    kSlots
  };
  // Room for `count` values; what was in it is undefined.
  float* Get(Slot slot, int64_t count);

 private:
  AlignedBuffer<float> buffers_[kSlots];
};

// The calling thread's.
BlockBuffers& ThreadBuffers();

struct BlockRun {
  const ModelSpec& model;
  const BlockSpec& block;
  const BlockWeights& weights;
  const RopeTable& rope;
  Backend& backend;
  ComputeType compute;
  int64_t tokens;
  InputObserver* observer;
  BlockBuffers& buffers;
  std::vector<bool> shown = {};  // by LinearSpec::input: each is shown once

  bool Has(LinearRole role, int expert = -1) const { return block.Find(role, expert) != nullptr; }
  // y[rows, N] = the linear of that role of x[rows, K]. INTERNAL if the block has none.
  absl::Status Linear(LinearRole role, int expert, const float* x, int64_t rows, float* y);
  // norm(x), in `slot`; x itself where the block has no such norm.
  const float* Norm(NormRole role, const float* x, BlockBuffers::Slot slot);
  // The same in place; nothing where the block has no such norm.
  void NormInPlace(NormRole role, float* x);
};

// out[T, D] = o(attention(rope(q), rope(k), v)), q, k and v being linears of normed[T, D].
absl::Status Attend(BlockRun& run, const float* normed, float* out);
// The same of a model with latent attention.
absl::Status AttendLatent(BlockRun& run, const LatentAttentionSpec& latent, const float* normed,
                          float* out);
// The first 2 half values of each of `heads` heads, x[heads, d], from neighbouring pairs to halves,
// which is what the backend rotates. Scores stay: q and k are permuted alike.
void PairsToHalves(int64_t heads, int64_t d, int64_t half, float* x);
// out[rows, D] = down(act(gate(x)) * up(x)), or down(act(up(x))) where there is no gate.
absl::Status RunMlp(BlockRun& run, int expert, const float* x, int64_t rows, float* out);
// out[T, D] = the sum of the experts that each token chose.
absl::Status RunMixture(BlockRun& run, const MixtureSpec& mixture, const float* normed, float* out);

}  // namespace quantd
