// Activations of a set of windows on their way through the blocks: one stream each for calibration,
// for evaluation of the original model and for evaluation of the quantized one.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/threads.h"
#include "engine/calibrate/gatherer.h"
#include "engine/calibrate/statistics.h"
#include "engine/model/forward.h"
#include "engine/text/windows.h"

namespace quantd {

// What every pass through a block needs; outlives the streams.
struct ForwardContext {
  const ModelSpec& model;
  const RopeTables& ropes;
  Backend& backend;
  ComputeType compute;
  ThreadPool& pool;
};

// Rows of the inputs of each linear group (LinearSpec::input), taken at fixed positions: enough to
// measure the error that quantization adds to a linear's output.
struct InputSamples {
  struct Rows {
    int64_t tokens = 0, channels = 0;
    std::vector<float> x;  // [tokens, channels]
  };
  std::vector<Rows> inputs;  // by LinearSpec::input
};

class Activations {
 public:
  Activations() = default;
  // The embedding of every window: [windows][T, D], f32. Memory: windows x T x D x 4 bytes.
  static absl::StatusOr<Activations> Embed(Windows windows, const Embedding& embedding,
                                           int64_t hidden, ThreadPool& pool);

  // x <- block(x) for every window, on all threads.
  absl::Status Forward(const ForwardContext& context, const BlockSpec& block,
                       const BlockWeights& weights);
  // The same, and takes samples of the inputs on the way.
  absl::StatusOr<InputSamples> ForwardSampling(const ForwardContext& context,
                                               const BlockSpec& block, const BlockWeights& weights);
  // The same, and gathers statistics of the inputs.
  absl::StatusOr<Gathered> ForwardGathering(const ForwardContext& context, const BlockSpec& block,
                                            const BlockWeights& weights, Gathering gathering);
  // Gathers the statistics but leaves x as it was: the block's output will come from other weights.
  absl::StatusOr<Gathered> Gather(const ForwardContext& context, const BlockSpec& block,
                                  const BlockWeights& weights, Gathering gathering) const;

  // A copy of the first `windows` windows, or of all where there are fewer.
  Activations First(int64_t windows) const;

  bool empty() const { return x_.empty(); }
  const Windows& windows() const { return windows_; }
  int64_t size() const { return static_cast<int64_t>(x_.size()); }
  const float* window(int64_t index) const { return x_[static_cast<size_t>(index)].data(); }
  // All activations of a window, [T, D].
  std::span<const float> values(int64_t index) const {
    return x_[static_cast<size_t>(index)].span();
  }
  std::span<float> values(int64_t index) { return x_[static_cast<size_t>(index)].span(); }

 private:
  Windows windows_;
  std::vector<AlignedBuffer<float>> x_;
};

// The streams of one run; one that is empty is not wanted.
struct Streams {
  Activations calibration;
  Activations original, evaluated;  // of the evaluation text, through the model as it was and as it
                                    // is quantized
};

}  // namespace quantd
