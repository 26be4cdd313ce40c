// Attention whose q, k and v come from latents (DeepSeek-V2, arXiv 2405.04434), as it is trained:
// the latents are expanded, and the heads attend as they do elsewhere.
#include <algorithm>
#include <cmath>
#include <vector>

#include "base/error.h"
#include "engine/model/block_run.h"
#include "engine/model/norm.h"

namespace quantd {
namespace {

// The family's class gives the norms of latents no other epsilon.
constexpr float kEpsilon = 1e-6F;

void NormLatent(BlockRun& run, NormRole role, int64_t width, float* x) {
  const NormWeights& norm = run.weights.norms[static_cast<size_t>(role)];
  run.backend.RmsNorm(x, norm.gain->data(), run.tokens, width, kEpsilon, x);
}

// A head of q and k stands with its rotated part first, for the backend rotates the first values;
// scores stay, as both are turned round alike.
void Rotate(BlockRun& run, int64_t heads, int64_t width, float* x) {
  const int64_t half = run.rope.half_dims;
  if (run.rope.interleaved) PairsToHalves(run.tokens * heads, width, half, x);
  run.backend.Rope(x, run.tokens, heads, width, half, run.rope.cos.data(), run.rope.sin.data());
}

// q[T, H, rotated + plain] of normed[T, D].
absl::Status Queries(BlockRun& run, const LatentAttentionSpec& latent, const float* normed,
                     float* q) {
  const int64_t heads = run.model.heads, d = run.model.head_dim;
  if (latent.q_rank == 0) {
    QD_RETURN_IF_ERROR(run.Linear(LinearRole::kQ, -1, normed, run.tokens, q));
  } else {
    float* narrow = run.buffers.Get(BlockBuffers::kFused, run.tokens * latent.q_rank);
    QD_RETURN_IF_ERROR(run.Linear(LinearRole::kQDown, -1, normed, run.tokens, narrow));
    NormLatent(run, NormRole::kQ, latent.q_rank, narrow);
    QD_RETURN_IF_ERROR(run.Linear(LinearRole::kQUp, -1, narrow, run.tokens, q));
  }
  for (int64_t head = 0; head < run.tokens * heads; ++head) {
    std::rotate(q + head * d, q + head * d + latent.plain, q + (head + 1) * d);
  }
  Rotate(run, heads, d, q);
  return absl::OkStatus();
}

// k[T, H, rotated + plain] and v[T, H, the same width, zeros at the end] of normed[T, D].
absl::Status KeysAndValues(BlockRun& run, const LatentAttentionSpec& latent, const float* normed,
                           float* k, float* v) {
  const int64_t heads = run.model.heads, d = run.model.head_dim, rotated = d - latent.plain;
  const int64_t narrow_width = latent.kv_rank + rotated, wide = latent.plain + latent.values;
  float* both = run.buffers.Get(BlockBuffers::kFused, run.tokens * narrow_width);
  QD_RETURN_IF_ERROR(run.Linear(LinearRole::kKvDown, -1, normed, run.tokens, both));
  std::vector<float> narrow(static_cast<size_t>(run.tokens * latent.kv_rank));
  std::vector<float> shared(static_cast<size_t>(run.tokens * rotated));
  for (int64_t t = 0; t < run.tokens; ++t) {
    const float* row = both + t * narrow_width;
    std::copy_n(row, latent.kv_rank, narrow.data() + t * latent.kv_rank);
    std::copy_n(row + latent.kv_rank, rotated, shared.data() + t * rotated);
  }
  NormLatent(run, NormRole::kK, latent.kv_rank, narrow.data());
  Rotate(run, 1, rotated, shared.data());
  float* up = run.buffers.Get(BlockBuffers::kUp, run.tokens * heads * wide);
  QD_RETURN_IF_ERROR(run.Linear(LinearRole::kKvUp, -1, narrow.data(), run.tokens, up));
  for (int64_t head = 0; head < run.tokens * heads; ++head) {
    const float* from = up + head * wide;
    std::copy_n(shared.data() + head / heads * rotated, rotated, k + head * d);
    std::copy_n(from, latent.plain, k + head * d + rotated);
    std::copy_n(from + latent.plain, latent.values, v + head * d);
    std::fill_n(v + head * d + latent.values, d - latent.values, 0.0F);
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status AttendLatent(BlockRun& run, const LatentAttentionSpec& latent, const float* normed,
                          float* out) {
  const ModelSpec& model = run.model;
  const int64_t heads = model.heads, d = model.head_dim;
  float* q = run.buffers.Get(BlockBuffers::kQ, run.tokens * heads * d);
  float* k = run.buffers.Get(BlockBuffers::kK, run.tokens * heads * d);
  float* v = run.buffers.Get(BlockBuffers::kV, run.tokens * heads * d);
  QD_RETURN_IF_ERROR(Queries(run, latent, normed, q));
  QD_RETURN_IF_ERROR(KeysAndValues(run, latent, normed, k, v));
  const double scale = model.attention_scale.value_or(1.0 / std::sqrt(static_cast<double>(d)));
  const AttentionShape shape{.tokens = run.tokens,
                             .heads = heads,
                             .kv_heads = heads,
                             .head_dim = d,
                             .window = 0,
                             .scale = static_cast<float>(scale),
                             .softcap = 0};
  float* attended = run.buffers.Get(BlockBuffers::kAttended, run.tokens * heads * d);
  QD_RETURN_IF_ERROR(run.backend.Attention(q, k, v, shape, run.compute, attended));
  for (int64_t head = 0; head < run.tokens * heads; ++head) {
    std::copy_n(attended + head * d, latent.values, attended + head * latent.values);
  }
  return run.Linear(LinearRole::kO, -1, attended, run.tokens, out);
}

}  // namespace quantd
