#include "engine/block/block_statistics.h"

#include <utility>

#include "base/error.h"

namespace quantd {

absl::Status BlockStatistics::Gather(const std::optional<ForwardContext>& context,
                                     const BlockWeights& weights) {
  const bool saved = saved_.Has(block_.index);
  // Through the original block once, in the last pass.
  const bool stays = propagates_quantized_ || needs_.gathers_again();
  if (!saved || caches_) {
    Gathering gathering{
        .needs = needs_.gathered, .scratch_folder = scratch_folder_, .cache = caches_};
    if (saved) gathering.needs.assign(needs_.gathered.size(), {});
    QD_ASSIGN_OR_RETURN(Gathered gathered, Pass(context, weights, std::move(gathering), stays));
    block_.statistics = std::move(gathered.inputs);
    block_.cache = std::move(gathered.cache);
  } else if (saved_.GoesOnAfter(block_.index) && !stays) {
    QD_RETURN_IF_ERROR(stream_.Forward(*context, block_.spec, weights));
  }
  if (saved) {
    QD_ASSIGN_OR_RETURN(block_.statistics, saved_.Read(block_.index, scratch_folder_));
  }
  return saved_.Save(block_.index, block_.statistics);
}

absl::Status BlockStatistics::GatherTransformed(const std::optional<ForwardContext>& context,
                                                const BlockWeights& weights) {
  if (!needs_.gathers_again()) return absl::OkStatus();
  Gathering gathering{.needs = needs_.transformed, .divisors = Divisors(needs_.transformed.size())};
  for (size_t i = 0; i < block_.linears.size(); ++i) {
    const auto input = static_cast<size_t>(block_.linears[i].linear->input);
    gathering.divisors[input] = block_.transform.linears[i].columns;
  }
  QD_ASSIGN_OR_RETURN(Gathered transformed,
                      Pass(context, weights, std::move(gathering), propagates_quantized_));
  for (size_t input = 0; input < needs_.transformed.size(); ++input) {
    if (!needs_.transformed[input].histogram) continue;
    block_.statistics[input].histogram = std::move(transformed.inputs[input].histogram);
  }
  return absl::OkStatus();
}

absl::StatusOr<Gathered> BlockStatistics::Pass(const std::optional<ForwardContext>& context,
                                               const BlockWeights& weights, Gathering gathering,
                                               bool stays) {
  return stays ? stream_.Gather(*context, block_.spec, weights, std::move(gathering))
               : stream_.ForwardGathering(*context, block_.spec, weights, std::move(gathering));
}

}  // namespace quantd
