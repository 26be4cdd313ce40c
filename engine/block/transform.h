// What is done to the weights of a block before they are quantized, and undone around them, so that
// the function of the model stays the same: scales moved between norms and linears.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/model/forward.h"
#include "engine/model/weight_source.h"
#include "engine/types/scheme.h"

namespace quantd {

// Of one linear; what is empty or null changes nothing. Its weight W[N, K] becomes
//   diag(rows) W diag(columns)
// and its bias b[N] becomes diag(rows) b.
struct Transform {
  std::vector<float> columns, rows;
  Figures figures = {};  // of the search that chose `columns`

  bool empty() const { return columns.empty() && rows.empty(); }

  // Applies it to `count` rows from `row` on, weights[count, K].
  void Apply(int64_t row, int64_t count, int64_t columns_count, float* weights) const;
  // Applies it to the bias[N].
  void ApplyToBias(std::span<float> bias) const;
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
