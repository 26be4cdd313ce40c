#include "engine/block/block_statistics.h"

#include <utility>

#include "base/error.h"

namespace quantd {

absl::StatusOr<std::vector<InputStatistics>> BlockStatistics::Gather(
    const std::optional<ForwardContext>& context, const BlockSpec& block,
    const BlockWeights& weights) {
  std::vector<InputStatistics> statistics;
  const auto gathering = [&]() -> Gathering {
    return {.needs = needs_.gathered, .scratch_folder = scratch_folder_};
  };
  if (saved_.Has(block_)) {
    if (saved_.GoesOnAfter(block_) && !needs_.gathers_again()) {
      QD_RETURN_IF_ERROR(stream_.Forward(*context, block, weights));
    }
    QD_ASSIGN_OR_RETURN(statistics, saved_.Read(block_, scratch_folder_));
  } else if (propagate_ == Propagate::kQuantized || needs_.gathers_again()) {
    QD_ASSIGN_OR_RETURN(statistics, stream_.Gather(*context, block, weights, gathering()));
  } else {
    QD_ASSIGN_OR_RETURN(statistics,
                        stream_.ForwardGathering(*context, block, weights, gathering()));
  }
  QD_RETURN_IF_ERROR(saved_.Save(block_, statistics));
  return statistics;
}

absl::Status BlockStatistics::GatherFolded(const std::optional<ForwardContext>& context,
                                           const BlockSpec& block, const BlockWeights& weights,
                                           const BlockFold& fold,
                                           std::vector<InputStatistics>& statistics) {
  if (!needs_.gathers_again()) return absl::OkStatus();
  Gathering gathering{.needs = needs_.folded, .divisors = Divisors(needs_.folded.size())};
  for (size_t i = 0; i < linears_.size(); ++i) {
    gathering.divisors[static_cast<size_t>(linears_[i].linear->input)] = fold.linears[i].columns;
  }
  std::vector<InputStatistics> folded;
  if (propagate_ == Propagate::kQuantized) {
    QD_ASSIGN_OR_RETURN(folded, stream_.Gather(*context, block, weights, std::move(gathering)));
  } else {
    QD_ASSIGN_OR_RETURN(folded,
                        stream_.ForwardGathering(*context, block, weights, std::move(gathering)));
  }
  for (size_t input = 0; input < needs_.folded.size(); ++input) {
    if (!needs_.folded[input].histogram) continue;
    statistics[input].histogram = std::move(folded[input].histogram);
  }
  return absl::OkStatus();
}

}  // namespace quantd
