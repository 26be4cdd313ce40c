// The statistics of one block's inputs: gathered on the block as it was and, where a method that
// transforms asks for a histogram, once more on the inputs as transformed: every other statistic
// follows the transform by a division, a histogram does not.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/block/activations.h"
#include "engine/block/block.h"
#include "engine/block/saved_statistics.h"
#include "engine/types/recipe.h"

namespace quantd {

class BlockStatistics {
 public:
  // Of `block`, calibrated by `stream`, which goes on through the block unless the recipe says
  // propagate quantized or `saved` has the rest. Gram matrices in `scratch_folder`, as Gram::Make
  // says.
  BlockStatistics(Activations& stream, const Recipe& recipe, Block& block, SavedStatistics& saved,
                  const std::string& scratch_folder)
      : stream_(stream),
        propagates_quantized_(recipe.propagate == Propagate::kQuantized),
        caches_(recipe.kv_cache != KvCache::kNone),
        block_(block),
        saved_(saved),
        scratch_folder_(scratch_folder),
        needs_(NeedsOf(block.linears)) {}

  // Sets block.statistics: each input gets what the linears reading it ask for, by
  // LinearSpec::input: from a file, if one has it, else gathered and saved where that was asked
  // for. Sets block.cache where the recipe asks for a cache. `context` is not read where nothing
  // runs.
  absl::Status Gather(const std::optional<ForwardContext>& context, const BlockWeights& weights);
  // Adds the histograms that had to wait for block.transform. To be called whether or not there are
  // any; no work when there are none.
  absl::Status GatherTransformed(const std::optional<ForwardContext>& context,
                                 const BlockWeights& weights);

 private:
  // Through the original block; the stream stays before it or comes out behind it.
  absl::StatusOr<Gathered> Pass(const std::optional<ForwardContext>& context,
                                const BlockWeights& weights, Gathering gathering, bool stays);

  Activations& stream_;
  bool propagates_quantized_, caches_;
  Block& block_;
  SavedStatistics& saved_;
  const std::string& scratch_folder_;
  BlockNeeds needs_;
};

}  // namespace quantd
