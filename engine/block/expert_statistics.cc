#include "engine/block/expert_statistics.h"

#include <algorithm>
#include <set>

#include "absl/strings/str_cat.h"
#include "base/error.h"

namespace quantd {
namespace {

// Channels that are independent and of the same size.
absl::StatusOr<InputStatistics> AllAlike(const InputStatistics& shape,
                                         const std::string& scratch_folder) {
  InputStatistics alike(shape.channels());
  alike.tokens = 1;
  std::fill(alike.sum_abs.begin(), alike.sum_abs.end(), 1.0);
  std::fill(alike.sum_squares.begin(), alike.sum_squares.end(), 1.0);
  std::fill(alike.max_abs.begin(), alike.max_abs.end(), 1.0F);
  std::fill(alike.max.begin(), alike.max.end(), 1.0F);
  std::fill(alike.min.begin(), alike.min.end(), -1.0F);
  if (shape.gram.empty()) return alike;
  QD_ASSIGN_OR_RETURN(alike.gram, Gram::Make(shape.channels(), shape.gram.block, scratch_folder));
  for (int64_t i = 0; i < shape.channels(); ++i) alike.gram.Set(i, i, 1.0F);
  return alike;
}

}  // namespace

absl::StatusOr<ExpertTokens> ReplaceUnderfed(const BlockSpec& block,
                                             std::span<const ResolvedLinear> linears,
                                             const std::string& scratch_folder,
                                             std::vector<InputStatistics>& statistics) {
  ExpertTokens tokens;
  tokens.of_input.resize(statistics.size());
  const LinearSpec* router = block.Find(LinearRole::kRouter);
  if (router == nullptr) return tokens;
  std::set<int> underfed, seen;
  for (const ResolvedLinear& entry : linears) {
    const LinearSpec& linear = *entry.linear;
    const auto input = static_cast<size_t>(linear.input);
    InputStatistics& found = statistics[input];
    const bool calibrated = linear.expert >= 0 && found.channels() > 0;
    if (!calibrated || !seen.insert(linear.input).second) continue;
    tokens.of_input[input] = found.tokens;
    if (found.tokens >= kFewestExpertTokens) continue;
    underfed.insert(linear.expert);
    const InputStatistics& all = statistics[static_cast<size_t>(router->input)];
    const bool of_router = linear.role != LinearRole::kDown && all.channels() > 0;
    QD_ASSIGN_OR_RETURN(found,
                        of_router ? all.Copy(scratch_folder) : AllAlike(found, scratch_folder));
  }
  if (underfed.empty()) return tokens;
  std::string names;
  for (const int expert : underfed) absl::StrAppend(&names, names.empty() ? "" : ", ", expert);
  tokens.warnings.push_back(absl::StrCat(
      block.prefix, ": fewer than ", kFewestExpertTokens, " calibration tokens reached expert ",
      names, "; calibrated by all tokens (gate, up) and without weights (down)"));
  return tokens;
}

}  // namespace quantd
