// Attention of one block: q, k and v from one linear or three, norms of heads, rope, what a cache
// keeps, the product.
#include <algorithm>
#include <cmath>
#include <vector>

#include "base/error.h"
#include "engine/model/block_run.h"
#include "engine/model/norm.h"

namespace quantd {
namespace {

struct Heads {
  float* q;
  float* k;
  float* v;
};

// One row of a fused linear into rows of q, k and v.
void SplitRow(const ModelSpec& model, const float* fused, float* q, float* k, float* v) {
  const int64_t d = model.head_dim, kv_heads = model.kv_heads;
  const auto take = [&fused](int64_t count, float* to) {
    std::copy_n(fused, count, to);
    fused += count;
  };
  if (model.qkv_layout == QkvLayout::kConcatenated) {
    take(model.heads * d, q);
    take(kv_heads * d, k);
    take(kv_heads * d, v);
    return;
  }
  const int64_t share = model.heads / kv_heads * d;
  for (int64_t head = 0; head < kv_heads; ++head) {
    take(share, q + head * share);
    take(d, k + head * d);
    take(d, v + head * d);
  }
}

absl::Status Project(BlockRun& run, const float* normed, const Heads& heads) {
  const LinearSpec* fused = run.block.Find(LinearRole::kQkv);
  if (fused == nullptr) {
    QD_RETURN_IF_ERROR(run.Linear(LinearRole::kQ, -1, normed, run.tokens, heads.q));
    QD_RETURN_IF_ERROR(run.Linear(LinearRole::kK, -1, normed, run.tokens, heads.k));
    return run.Linear(LinearRole::kV, -1, normed, run.tokens, heads.v);
  }
  const int64_t width = fused->out_features;
  const int64_t q_width = run.model.heads * run.model.head_dim;
  const int64_t kv_width = run.model.kv_heads * run.model.head_dim;
  float* rows = run.buffers.Get(BlockBuffers::kFused, run.tokens * width);
  QD_RETURN_IF_ERROR(run.Linear(LinearRole::kQkv, -1, normed, run.tokens, rows));
  for (int64_t t = 0; t < run.tokens; ++t) {
    SplitRow(run.model, rows + t * width, heads.q + t * q_width, heads.k + t * kv_width,
             heads.v + t * kv_width);
  }
  return absl::OkStatus();
}

// Norm and rotation of the heads of q or k, x[T, heads, d].
void PrepareHeads(BlockRun& run, NormRole role, int64_t heads, float* x) {
  const int64_t d = run.model.head_dim;
  if (run.block.Has(role)) {
    const int64_t rows = run.model.wide_head_norms ? run.tokens : run.tokens * heads;
    RunNorm(run.model, run.weights.norms[static_cast<size_t>(role)], x, rows,
            run.tokens * heads * d / rows, run.backend, x);
  }
  if (run.rope.half_dims == 0 || run.block.no_rope) return;
  if (run.rope.interleaved) PairsToHalves(run.tokens * heads, d, run.rope.half_dims, x);
  run.backend.Rope(x, run.tokens, heads, d, run.rope.half_dims, run.rope.cos.data(),
                   run.rope.sin.data());
}

// What an engine reads back from its cache.
void Cache(BlockRun& run, const Heads& heads) {
  const int64_t width = run.model.kv_heads * run.model.head_dim;
  if (run.observer != nullptr) run.observer->OnCache(heads.k, heads.v, run.tokens, width);
  if (!run.weights.cache.has_value()) return;
  run.backend.RoundToFp8(heads.k, run.weights.cache->key, run.tokens * width);
  run.backend.RoundToFp8(heads.v, run.weights.cache->value, run.tokens * width);
}

}  // namespace

void PairsToHalves(int64_t heads, int64_t d, int64_t half, float* x) {
  std::vector<float> pairs(static_cast<size_t>(2 * half));
  for (int64_t head = 0; head < heads; ++head, x += d) {
    std::copy_n(x, 2 * half, pairs.data());
    for (int64_t i = 0; i < half; ++i) {
      x[i] = pairs[static_cast<size_t>(2 * i)];
      x[half + i] = pairs[static_cast<size_t>(2 * i + 1)];
    }
  }
}

absl::Status Attend(BlockRun& run, const float* normed, float* out) {
  const ModelSpec& model = run.model;
  if (model.latent.has_value()) return AttendLatent(run, *model.latent, normed, out);
  const int64_t d = model.head_dim, q_width = model.heads * d, kv_width = model.kv_heads * d;
  const Heads heads = {.q = run.buffers.Get(BlockBuffers::kQ, run.tokens * q_width),
                       .k = run.buffers.Get(BlockBuffers::kK, run.tokens * kv_width),
                       .v = run.buffers.Get(BlockBuffers::kV, run.tokens * kv_width)};
  QD_RETURN_IF_ERROR(Project(run, normed, heads));
  PrepareHeads(run, NormRole::kQ, model.heads, heads.q);
  PrepareHeads(run, NormRole::kK, model.kv_heads, heads.k);
  Cache(run, heads);

  const double scale = model.attention_scale.value_or(1.0 / std::sqrt(static_cast<double>(d)));
  const AttentionShape shape{.tokens = run.tokens,
                             .heads = model.heads,
                             .kv_heads = model.kv_heads,
                             .head_dim = d,
                             .window = run.block.sliding_window.value_or(0),
                             .scale = static_cast<float>(scale),
                             .softcap = static_cast<float>(model.attention_softcap)};
  float* attended = run.buffers.Get(BlockBuffers::kAttended, run.tokens * q_width);
  QD_RETURN_IF_ERROR(
      run.backend.Attention(heads.q, heads.k, heads.v, shape, run.compute, attended));
  return run.Linear(LinearRole::kO, -1, attended, run.tokens, out);
}

}  // namespace quantd
