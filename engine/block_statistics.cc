#include "engine/block_statistics.h"

#include <utility>

#include "base/error.h"

namespace quantd {

absl::StatusOr<std::vector<InputStatistics>> BlockStatistics::Gather(
    const std::optional<ForwardContext>& context, const BlockSpec& block,
    const BlockWeights& weights) {
  std::vector<InputStatistics> statistics;
  if (saved_.Has(block_)) {
    if (saved_.GoesOnAfter(block_) && !needs_.gathers_again()) {
      QD_RETURN_IF_ERROR(stream_.Forward(*context, block, weights));
    }
    QD_ASSIGN_OR_RETURN(statistics, saved_.Read(block_));
  } else if (propagate_ == Propagate::kQuantized || needs_.gathers_again()) {
    QD_ASSIGN_OR_RETURN(statistics, stream_.Gather(*context, block, weights, needs_.gathered));
  } else {
    QD_ASSIGN_OR_RETURN(statistics,
                        stream_.ForwardGathering(*context, block, weights, needs_.gathered));
  }
  QD_RETURN_IF_ERROR(saved_.Save(block_, statistics));
  return statistics;
}

absl::Status BlockStatistics::GatherFolded(const std::optional<ForwardContext>& context,
                                           const BlockSpec& block, const BlockWeights& weights,
                                           const BlockFold& fold,
                                           std::vector<InputStatistics>& statistics) {
  if (!needs_.gathers_again()) return absl::OkStatus();
  Divisors divisors(needs_.folded.size());
  for (size_t i = 0; i < linears_.size(); ++i) {
    divisors[static_cast<size_t>(linears_[i].linear->input)] = fold.linears[i].columns;
  }
  std::vector<InputStatistics> folded;
  if (propagate_ == Propagate::kQuantized) {
    QD_ASSIGN_OR_RETURN(folded, stream_.Gather(*context, block, weights, needs_.folded, divisors));
  } else {
    QD_ASSIGN_OR_RETURN(
        folded, stream_.ForwardGathering(*context, block, weights, needs_.folded, divisors));
  }
  for (size_t input = 0; input < needs_.folded.size(); ++input) {
    if (!needs_.folded[input].histogram) continue;
    statistics[input].histogram = std::move(folded[input].histogram);
  }
  return absl::OkStatus();
}

}  // namespace quantd
