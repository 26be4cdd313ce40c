// Scales moved between norms and linears of one block before it is quantized: which, and what comes
// of the weights.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/method/registry.h"
#include "engine/model/forward.h"
#include "engine/plan/plan.h"

namespace quantd {

// A linear's weight becomes w[n][k] * rows[n] * columns[k]; empty: as it is. Its bias becomes
// b[n] * rows[n].
struct LinearFold {
  std::vector<float> columns, rows;
  Figures figures;  // of the search that chose `columns`
  bool empty() const { return columns.empty() && rows.empty(); }

  // Applies it to `count` rows from `row` on, weights[count, K].
  void Apply(int64_t row, int64_t count, int64_t columns_count, float* weights) const;
};

struct BlockFold {
  std::vector<LinearFold> linears;  // as BlockSpec::linears
  // Gains and biases of norms by tensor name, as they are stored; representable in their type.
  ReplacedNorms norms;
  std::vector<std::string> warnings;
};

// Asks the methods of the block's linears for their scales (Method::fold), group by group, each on
// the weights as they were; divides `statistics` (by LinearSpec::input) by what was chosen. A group
// is folded when all of its linears ask for the same fold and what makes their input can take it:
// a norm always can, a linear when it is quantized itself. A router follows its experts in 16 bit.
// The division of a norm's gain is rounded to its stored type first, and the columns take exactly
// what is left, so that the function stays the same.
absl::StatusOr<BlockFold> ChooseFolds(const PlannedQuantization& planned, const BlockSpec& block,
                                      std::span<const ResolvedLinear> linears,
                                      const MethodContext& context,
                                      std::vector<InputStatistics>& statistics);

}  // namespace quantd
