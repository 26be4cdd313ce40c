// The one forward pass: a decoder block read top to bottom, the same for every family. What differs
// between families is data in ModelSpec. Each call works on one window in the calling thread; call
// it from many threads for many windows.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/backend/backend.h"
#include "engine/model/weight_source.h"
#include "engine/tensor/checkpoint.h"
#include "engine/types/kv_cache.h"
#include "engine/types/model_spec.h"

namespace quantd {

// cos and sin of every position and frequency, [tokens, dims / 2], with the scaling's attention
// factor multiplied in.
struct RopeTable {
  // As transformers: frequencies and angles are rounded to f32 where it rounds them. `tokens` is
  // the length of the window: some scalings depend on it.
  static RopeTable Make(const RopeSpec& rope, int64_t tokens);
  AlignedBuffer<float> cos, sin;
  int64_t half_dims = 0;
  bool interleaved = false;
};

// The tables of one model.
struct RopeTables {
  static RopeTables Make(const ModelSpec& model, int64_t tokens);
  const RopeTable& Of(const BlockSpec& block) const { return block.local_rope ? local : global; }
  RopeTable global, local;
};

using SharedVector = std::shared_ptr<const AlignedBuffer<float>>;

struct PreparedLinear {
  std::shared_ptr<PreparedWeight> weight;
  SharedVector bias;  // null: none
};

// What a norm multiplies by (ModelSpec::gain_offset is in it) and adds; null: none.
struct NormWeights {
  SharedVector gain, bias;
};

// One decoder block, ready to run. `linears` stands parallel to BlockSpec::linears. Linears may be
// shared between the original and the quantized block (those that are skipped).
struct BlockWeights {
  std::vector<PreparedLinear> linears;
  std::array<NormWeights, kNormRoles> norms;
  SharedVector correction;           // MixtureSpec::correction; null: none
  std::optional<CacheScales> cache;  // keys and values are rounded as an FP8 cache has them
};

// Is shown the input of each group of linears (LinearSpec::input), x[tokens, K], before they are
// run. Every input of the block is shown once, those of experts that no token chose with 0 tokens.
class InputObserver {
 public:
  virtual ~InputObserver() = default;
  virtual void OnInput(int input, const float* x, int64_t tokens, int64_t channels) = 0;
  // Is shown the keys, after norms and rope, and the values that a cache would keep, each [tokens,
  // channels].
  virtual void OnCache(const float* /*keys*/, const float* /*values*/, int64_t /*tokens*/,
                       int64_t /*channels*/) {}
};

// Norms, biases and dense weights of a block; `sources` are those of its linears, in their order.
absl::StatusOr<BlockWeights> LoadBlock(const ModelSpec& model, const BlockSpec& block,
                                       std::span<const WeightSource> sources,
                                       const Checkpoint& checkpoint, Backend& backend,
                                       ComputeType compute);

// The norms of a block; those in `replaced` (tensor name, values as stored) take the place of the
// checkpoint's.
using ReplacedNorms = std::map<std::string, std::vector<float>>;
absl::StatusOr<std::array<NormWeights, kNormRoles>> LoadNorms(const ModelSpec& model,
                                                              const BlockSpec& block,
                                                              const Checkpoint& checkpoint,
                                                              const ReplacedNorms& replaced = {});

// x[T, D] -> block(x), in place. `observer` may be null. MODEL_NOT_FINITE if the result is not
// finite.
absl::Status ForwardBlock(const ModelSpec& model, const BlockSpec& block,
                          const BlockWeights& weights, const RopeTables& ropes, Backend& backend,
                          ComputeType compute, int64_t tokens, float* x, InputObserver* observer);

// The embedding, read from the checkpoint row by row: the table, often the largest tensor, is never
// in memory. The checkpoint must stay open.
class Embedding {
 public:
  static absl::StatusOr<Embedding> Load(const ModelSpec& model, const Checkpoint& checkpoint);
  // The same with a quantized table.
  Embedding WithRows(std::shared_ptr<const QuantizedRows> rows) const;
  // x[T, D] = the rows of `ids`, scaled, with those of their positions added where the family has
  // them. DATASET_INVALID for an id outside the vocabulary. Thread-safe; a read or two per token.
  absl::Status Embed(std::span<const int32_t> ids, float* x) const;

 private:
  const Checkpoint* checkpoint_ = nullptr;
  TensorInfo table_, positions_;  // an empty name: no positions
  int64_t first_position_ = 0;
  float scale_ = 1;
  std::shared_ptr<const QuantizedRows> rows_;  // instead of the table, where quantized
};

// Final norm and output projection: logits[T, V] of x[T, D]; x is left as it was. The model spec
// must outlive it.
class Head {
 public:
  static absl::StatusOr<Head> Load(const ModelSpec& model, const Checkpoint& checkpoint,
                                   Backend& backend, ComputeType compute);
  // This head again, sharing norm and weight.
  Head Share() const { return *this; }
  // The same norm before another weight: a quantized head.
  Head WithLinear(PreparedLinear linear) const;
  // The same weight after another norm: one whose gain went into the weight.
  Head WithNorm(NormWeights norm) const;
  absl::Status Logits(const float* x, int64_t tokens, float* logits) const;
  int64_t hidden() const { return model_->hidden; }

 private:
  const ModelSpec* model_ = nullptr;
  Backend* backend_ = nullptr;
  PreparedLinear linear_;
  NormWeights norm_;
};

}  // namespace quantd
