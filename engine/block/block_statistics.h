// The statistics of one block's inputs: gathered on the block as it was and, where a method that
// folds asks for a histogram, once more on the inputs as folded: every other statistic follows the
// fold by a division, a histogram does not.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/block/activations.h"
#include "engine/block/fold.h"
#include "engine/block/saved_statistics.h"
#include "engine/types/recipe.h"

namespace quantd {

class BlockStatistics {
 public:
  // Of the block number `block` with those linears, calibrated by `stream`, which goes on through
  // the block unless `propagate` is kQuantized or `saved` has the rest. Gram matrices in
  // `scratch_folder`, as Gram::Make says.
  BlockStatistics(Activations& stream, Propagate propagate, int64_t block,
                  std::span<const ResolvedLinear> linears, SavedStatistics& saved,
                  const std::string& scratch_folder)
      : stream_(stream),
        propagate_(propagate),
        block_(block),
        linears_(linears),
        saved_(saved),
        scratch_folder_(scratch_folder),
        needs_(NeedsOf(linears)) {}

  // Each input gets what the linears reading it ask for, by LinearSpec::input: from a file, if one
  // has it, else gathered and saved where that was asked for. `context` is not read where nothing
  // runs.
  absl::StatusOr<std::vector<InputStatistics>> Gather(const std::optional<ForwardContext>& context,
                                                      const BlockSpec& block,
                                                      const BlockWeights& weights);
  // Adds the histograms that had to wait for `fold`. To be called whether or not there are any; no
  // work when there are none.
  absl::Status GatherFolded(const std::optional<ForwardContext>& context, const BlockSpec& block,
                            const BlockWeights& weights, const BlockFold& fold,
                            std::vector<InputStatistics>& statistics);

 private:
  Activations& stream_;
  Propagate propagate_;
  int64_t block_;
  std::span<const ResolvedLinear> linears_;
  SavedStatistics& saved_;
  const std::string& scratch_folder_;
  BlockNeeds needs_;
};

}  // namespace quantd
