#include "engine/block/block_statistics.h"

#include <utility>

#include "base/error.h"

namespace quantd {

absl::Status BlockStatistics::Gather(const std::optional<ForwardContext>& context,
                                     const BlockWeights& weights) {
  const BlockSpec& spec = block_.spec;
  std::vector<InputStatistics>& statistics = block_.statistics;
  const auto gathering = [&]() -> Gathering {
    return {.needs = needs_.gathered, .scratch_folder = scratch_folder_};
  };
  if (saved_.Has(block_.index)) {
    if (saved_.GoesOnAfter(block_.index) && !needs_.gathers_again()) {
      QD_RETURN_IF_ERROR(stream_.Forward(*context, spec, weights));
    }
    QD_ASSIGN_OR_RETURN(statistics, saved_.Read(block_.index, scratch_folder_));
  } else if (propagate_ == Propagate::kQuantized || needs_.gathers_again()) {
    QD_ASSIGN_OR_RETURN(statistics, stream_.Gather(*context, spec, weights, gathering()));
  } else {
    QD_ASSIGN_OR_RETURN(statistics, stream_.ForwardGathering(*context, spec, weights, gathering()));
  }
  return saved_.Save(block_.index, statistics);
}

absl::Status BlockStatistics::GatherTransformed(const std::optional<ForwardContext>& context,
                                                const BlockWeights& weights) {
  if (!needs_.gathers_again()) return absl::OkStatus();
  Gathering gathering{.needs = needs_.transformed, .divisors = Divisors(needs_.transformed.size())};
  for (size_t i = 0; i < block_.linears.size(); ++i) {
    const auto input = static_cast<size_t>(block_.linears[i].linear->input);
    gathering.divisors[input] = block_.transform.linears[i].columns;
  }
  std::vector<InputStatistics> transformed;
  if (propagate_ == Propagate::kQuantized) {
    QD_ASSIGN_OR_RETURN(transformed,
                        stream_.Gather(*context, block_.spec, weights, std::move(gathering)));
  } else {
    QD_ASSIGN_OR_RETURN(transformed, stream_.ForwardGathering(*context, block_.spec, weights,
                                                              std::move(gathering)));
  }
  for (size_t input = 0; input < needs_.transformed.size(); ++input) {
    if (!needs_.transformed[input].histogram) continue;
    block_.statistics[input].histogram = std::move(transformed[input].histogram);
  }
  return absl::OkStatus();
}

}  // namespace quantd
