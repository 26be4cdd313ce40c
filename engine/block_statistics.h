// The statistics of one block's inputs: gathered on the block as it was and, where a method that
// folds asks for a histogram, once more on the inputs as folded: every other statistic follows the
// fold by a division, a histogram does not.
#pragma once

#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/fold.h"
#include "engine/recipe.h"
#include "engine/stream.h"

namespace quantd {

class BlockStatistics {
 public:
  // Of a block with those linears, calibrated by `stream`, which goes on through the block unless
  // `propagate` is kQuantized.
  BlockStatistics(Stream& stream, Propagate propagate, std::span<const ResolvedLinear> linears);

  // Each input gets what the linears reading it ask for, by LinearSpec::input.
  absl::StatusOr<std::vector<InputStatistics>> Gather(const ForwardContext& context,
                                                      const BlockSpec& block,
                                                      const BlockWeights& weights);
  // Adds the histograms that had to wait for `fold`. To be called whether or not there are any; no
  // work when there are none.
  absl::Status GatherFolded(const ForwardContext& context, const BlockSpec& block,
                            const BlockWeights& weights, const BlockFold& fold,
                            std::vector<InputStatistics>& statistics);

 private:
  bool GathersAgain() const;

  Stream& stream_;
  Propagate propagate_;
  std::span<const ResolvedLinear> linears_;
  std::vector<StatisticsNeeds> needs_, folded_;  // by LinearSpec::input
};

}  // namespace quantd
