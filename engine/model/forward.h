// The one forward pass: a decoder block read top to bottom, the same for every family. What differs
// between families is data in ModelSpec. Each call works on one window in the calling thread; call
// it from many threads for many windows.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/backend/backend.h"
#include "engine/model/model_spec.h"
#include "engine/tensor/checkpoint.h"

namespace quantd {

// cos and sin of every position and frequency, [tokens, dims / 2], with the scaling's attention
// factor multiplied in.
struct RopeTable {
  // As transformers: frequencies and angles are rounded to f32 where it rounds them.
  static RopeTable Make(const RopeSpec& rope, int64_t tokens);
  AlignedBuffer<float> cos, sin;
  int64_t half_dims = 0;
};

struct PreparedLinear {
  std::shared_ptr<PreparedWeight> weight;
  std::shared_ptr<const AlignedBuffer<float>> bias;  // null: none
};

// One decoder block, ready to run. `linears` stands parallel to BlockSpec::linears. Linears may be
// shared between the original and the quantized block (those that are skipped).
struct BlockWeights {
  std::vector<PreparedLinear> linears;
  std::shared_ptr<const AlignedBuffer<float>> input_norm, post_attention_norm, q_norm, k_norm;
};

// Is shown the input of each group of linears (LinearSpec::input), x[tokens, K], before they are
// run.
class InputObserver {
 public:
  virtual ~InputObserver() = default;
  virtual void OnInput(int input, const float* x, int64_t tokens, int64_t channels) = 0;
};

// Reads norms, biases and dense weights of a block.
absl::StatusOr<BlockWeights> LoadBlock(const ModelSpec& model, const BlockSpec& block,
                                       const Checkpoint& checkpoint, Backend& backend,
                                       ComputeType compute);

// x[T, D] -> block(x), in place. `observer` may be null. MODEL_NOT_FINITE if the result is not
// finite.
absl::Status ForwardBlock(const ModelSpec& model, const BlockSpec& block,
                          const BlockWeights& weights, const RopeTable& rope, Backend& backend,
                          ComputeType compute, int64_t tokens, float* x, InputObserver* observer);

// The embedding, read from the checkpoint row by row: the table, often the largest tensor, is never
// in memory. The checkpoint must stay open.
class Embedding {
 public:
  static absl::StatusOr<Embedding> Load(const ModelSpec& model, const Checkpoint& checkpoint);
  // x[T, D] = the rows of `ids`. DATASET_INVALID for an id outside the vocabulary. Thread-safe; one
  // read per token.
  absl::Status Embed(std::span<const int32_t> ids, float* x) const;

 private:
  const Checkpoint* checkpoint_ = nullptr;
  TensorInfo table_;
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
  absl::Status Logits(const float* x, int64_t tokens, float* logits) const;
  int64_t hidden() const { return model_->hidden; }

 private:
  const ModelSpec* model_ = nullptr;
  Backend* backend_ = nullptr;
  PreparedLinear linear_;
  std::shared_ptr<const AlignedBuffer<float>> norm_;
};

}  // namespace quantd
