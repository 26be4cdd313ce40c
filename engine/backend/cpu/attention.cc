#include "engine/backend/cpu/attention.h"

#include <algorithm>
#include <cstring>

#include "base/checked.h"
#include "base/error.h"
#include "engine/backend/cpu/gemm.h"
#include "engine/backend/cpu/row_ops.h"
#include "engine/backend/cpu/workspace.h"

namespace quantd {
namespace {

// Works through a window in tiles of queries. The heads that share a key head are rows of one
// product, so each key is packed once for all of them; a row is (token, head of the group).
class WindowAttention {
 public:
  WindowAttention(const AttentionShape& shape, ComputeType compute)
      : shape_(shape),
        ops_(CpuRowOps()),
        narrow_(compute == ComputeType::kBF16),
        group_(shape.heads / shape.kv_heads),
        key_stride_(shape.kv_heads * shape.head_dim),
        tile_(std::clamp<int64_t>(256 / group_, 16, 64)),
        step_(tile_ * DivideRoundingUp(DivideRoundingUp(shape.tokens, 16), tile_)) {}

  absl::Status Run(const float* q, const float* k, const float* v, float* out) {
    const void* keys = k;
    const void* values = v;
    if (narrow_) {
      const int64_t count = shape_.tokens * key_stride_;
      auto* both = Workspace<uint16_t>(Scratch::kKeyValue, 2 * count);
      ops_.to_bf16(k, count, both);
      ops_.to_bf16(v, count, both + count);
      keys = both;
      values = both + count;
    }
    for (int64_t head = 0; head < shape_.kv_heads; ++head) {
      for (int64_t begin = 0; begin < shape_.tokens; begin += tile_) {
        QD_RETURN_IF_ERROR(RunTile(q, keys, values, head, MakeTile(begin), out));
      }
    }
    return absl::OkStatus();
  }

 private:
  // Queries [begin, end) and the keys [key_begin, key_end) that any of them may see. Key ranges are
  // rounded to `step_` so that a long window has few shapes of product.
  struct Tile {
    int64_t begin, end, key_begin, key_end;
    int64_t keys() const { return key_end - key_begin; }
  };

  int64_t FirstKey(int64_t token) const {
    return shape_.window > 0 ? std::max<int64_t>(0, token - shape_.window + 1) : 0;
  }

  Tile MakeTile(int64_t begin) const {
    const int64_t end = std::min(begin + tile_, shape_.tokens);
    return {.begin = begin,
            .end = end,
            .key_begin = FirstKey(begin) / step_ * step_,
            .key_end = std::min(DivideRoundingUp(end, step_) * step_, shape_.tokens)};
  }

  absl::Status RunTile(const float* q, const void* keys, const void* values, int64_t head,
                       const Tile& tile, float* out) {
    const int64_t d = shape_.head_dim, rows = (tile.end - tile.begin) * group_;
    GemmShape product{.type = narrow_ ? GemmType::kBF16 : GemmType::kF32,
                      .right = GemmRight::kTransposed,
                      .m = rows,
                      .n = tile.keys(),
                      .k = d,
                      .lda = d,
                      .ldb = key_stride_,
                      .ldc = tile.keys()};
    const int64_t first_key = tile.key_begin * key_stride_ + head * d;
    auto* scores = Workspace<float>(Scratch::kScores, rows * tile.keys());
    QD_RETURN_IF_ERROR(
        Gemm(product, GatherQueries(q, head, tile), At(keys, first_key), nullptr, scores));

    auto* sums = Workspace<float>(Scratch::kSums, rows);
    const void* weights = Exponentiate(tile, scores, sums);

    product.right = GemmRight::kPlain;
    product.n = d;
    product.k = product.lda = tile.keys();
    product.ldc = d;
    auto* attended = Workspace<float>(Scratch::kAttended, rows * d);
    QD_RETURN_IF_ERROR(Gemm(product, weights, At(values, first_key), nullptr, attended));
    for (int64_t row = 0; row < rows; ++row) {
      ops_.scale(attended + row * d, 1.0F / sums[row], d, out + QueryOffset(tile, head, row));
    }
    return absl::OkStatus();
  }

  const void* At(const void* data, int64_t index) const {
    const int64_t size = narrow_ ? 2 : 4;
    return static_cast<const std::byte*>(data) + index * size;
  }

  // Of row (token, head of the group) in q and out.
  int64_t QueryOffset(const Tile& tile, int64_t head, int64_t row) const {
    const int64_t token = tile.begin + row / group_, query_head = head * group_ + row % group_;
    return (token * shape_.heads + query_head) * shape_.head_dim;
  }

  // The tile's queries times the scale, [rows, d].
  const void* GatherQueries(const float* q, int64_t head, const Tile& tile) const {
    const int64_t d = shape_.head_dim, tokens = tile.end - tile.begin, width = group_ * d;
    auto* gathered = Workspace<float>(Scratch::kQuery, tokens * width * 3 / 2);
    for (int64_t t = 0; t < tokens; ++t) {
      ops_.scale(q + QueryOffset(tile, head, t * group_), shape_.scale, width,
                 gathered + t * width);
    }
    if (!narrow_) return gathered;
    auto* narrow = reinterpret_cast<uint16_t*>(gathered + tokens * width);
    ops_.to_bf16(gathered, tokens * width, narrow);
    return narrow;
  }

  // exp(score - max) where a token may look and 0 elsewhere, with the sum of each row. The sums
  // divide the result of the product: fewer divisions, and no rounding of small weights.
  const void* Exponentiate(const Tile& tile, float* scores, float* sums) const {
    const int64_t keys = tile.keys(), rows = (tile.end - tile.begin) * group_;
    uint16_t* narrow = narrow_ ? Workspace<uint16_t>(Scratch::kWeights, rows * keys) : nullptr;
    for (int64_t row = 0; row < rows; ++row) {
      const int64_t token = tile.begin + row / group_;
      const int64_t first = FirstKey(token) - tile.key_begin, last = token + 1 - tile.key_begin;
      float* line = scores + row * keys;
      std::fill(line, line + first, 0.0F);
      if (shape_.softcap > 0) ops_.soft_cap(line + first, shape_.softcap, last - first);
      sums[row] = ops_.exp_minus_max(line + first, last - first);
      std::fill(line + last, line + keys, 0.0F);
      if (narrow != nullptr) ops_.to_bf16(line, keys, narrow + row * keys);
    }
    return narrow != nullptr ? static_cast<const void*>(narrow) : scores;
  }

  const AttentionShape& shape_;
  const RowOps& ops_;
  bool narrow_;
  int64_t group_;       // query heads per key head
  int64_t key_stride_;  // of one token in k and v
  int64_t tile_;        // tokens per tile
  int64_t step_;        // what key ranges are rounded to; a multiple of tile_
};

}  // namespace

absl::Status CpuAttention(const float* q, const float* k, const float* v,
                          const AttentionShape& shape, ComputeType compute, float* out) {
  return WindowAttention(shape, compute).Run(q, k, v, out);
}

}  // namespace quantd
