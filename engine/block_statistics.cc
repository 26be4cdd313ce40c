#include "engine/block_statistics.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "engine/method/registry.h"

namespace quantd {

BlockStatistics::BlockStatistics(Stream& stream, Propagate propagate,
                                 std::span<const ResolvedLinear> linears)
    : stream_(stream), propagate_(propagate), linears_(linears) {
  for (const ResolvedLinear& entry : linears) {
    const auto input = static_cast<size_t>(entry.linear->input);
    if (needs_.size() <= input) {
      needs_.resize(input + 1);
      folded_.resize(input + 1);
    }
    if (!entry.scheme.has_value()) continue;
    const Method& method = *FindMethod(entry.scheme->method);
    StatisticsNeeds needs = method.needs(*entry.scheme);
    if (method.fold != nullptr && needs.histogram) {
      needs.histogram = false;
      folded_[input].histogram = true;
    }
    needs_[input] = needs_[input] | needs;
  }
}

bool BlockStatistics::GathersAgain() const {
  return std::any_of(folded_.begin(), folded_.end(),
                     [](const StatisticsNeeds& needs) { return needs.any(); });
}

absl::StatusOr<std::vector<InputStatistics>> BlockStatistics::Gather(const ForwardContext& context,
                                                                     const BlockSpec& block,
                                                                     const BlockWeights& weights) {
  if (propagate_ == Propagate::kQuantized || GathersAgain()) {
    return stream_.Gather(context, block, weights, needs_);
  }
  return stream_.ForwardGathering(context, block, weights, needs_);
}

absl::Status BlockStatistics::GatherFolded(const ForwardContext& context, const BlockSpec& block,
                                           const BlockWeights& weights, const BlockFold& fold,
                                           std::vector<InputStatistics>& statistics) {
  if (!GathersAgain()) return absl::OkStatus();
  Divisors divisors(folded_.size());
  for (size_t i = 0; i < linears_.size(); ++i) {
    divisors[static_cast<size_t>(linears_[i].linear->input)] = fold.linears[i].columns;
  }
  std::vector<InputStatistics> folded;
  if (propagate_ == Propagate::kQuantized) {
    QD_ASSIGN_OR_RETURN(folded, stream_.Gather(context, block, weights, folded_, divisors));
  } else {
    QD_ASSIGN_OR_RETURN(folded,
                        stream_.ForwardGathering(context, block, weights, folded_, divisors));
  }
  for (size_t input = 0; input < folded_.size(); ++input) {
    if (!folded_[input].histogram) continue;
    statistics[input].histogram = std::move(folded[input].histogram);
  }
  return absl::OkStatus();
}

}  // namespace quantd
