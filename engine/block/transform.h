// What is done to the weights of a block before they are quantized, and undone around them, so that
// the function of the model stays the same: scales moved between norms and linears, and rotations
// of the residual stream.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/model/forward.h"
#include "engine/model/rotation.h"
#include "engine/model/weight_source.h"
#include "engine/types/scheme.h"

namespace quantd {

// Of one linear; what is empty or null changes nothing. Its weight W[N, K] becomes
//   diag(rows) output^T W diag(gain) input diag(columns)
// and its bias b[N] becomes diag(rows) output^T b: a rotated model is then scaled like any other.
struct Transform {
  std::vector<float> columns, rows;
  Figures figures = {};  // of the search that chose `columns`

  std::vector<float> gain = {};  // of the norm whose output the linear reads, which is ones then
  std::shared_ptr<const Rotation> input = nullptr;   // of K channels
  std::shared_ptr<const Rotation> output = nullptr;  // of N channels

  bool empty() const { return columns.empty() && rows.empty() && !rotates(); }
  bool rotates() const { return !gain.empty() || input != nullptr || output != nullptr; }
  bool changes_bias() const { return !rows.empty() || output != nullptr; }

  // Applies it to `count` rows from `row` on, weights[count, K]. INTERNAL for a part of the rows
  // where `output` mixes them.
  absl::Status Apply(int64_t row, int64_t count, int64_t columns_count, float* weights) const;
  // Applies it to the bias[N].
  void ApplyToBias(std::span<float> bias) const;
  // Rotations are the same where they are the same object.
  bool operator==(const Transform&) const = default;
};

struct BlockTransform {
  std::vector<Transform> linears;  // as BlockSpec::linears
  // Gains and biases of norms by tensor name, as they are stored; representable in their type.
  ReplacedNorms norms;
  bool operator==(const BlockTransform&) const = default;
};

// W[N, K] in f32 with the transform applied. Errors: those of the source.
absl::StatusOr<AlignedBuffer<float>> TransformedValues(const WeightSource& source,
                                                       const Transform& transform);

}  // namespace quantd
