#include "engine/expert_statistics.h"

#include <algorithm>
#include <set>

#include "absl/strings/str_cat.h"
#include "base/error.h"

namespace quantd {
namespace {

// Channels that are independent and of the same size.
InputStatistics AllAlike(const InputStatistics& shape) {
  InputStatistics alike(shape.channels());
  alike.tokens = 1;
  std::fill(alike.sum_abs.begin(), alike.sum_abs.end(), 1.0);
  std::fill(alike.sum_squares.begin(), alike.sum_squares.end(), 1.0);
  std::fill(alike.max_abs.begin(), alike.max_abs.end(), 1.0F);
  std::fill(alike.max.begin(), alike.max.end(), 1.0F);
  std::fill(alike.min.begin(), alike.min.end(), -1.0F);
  if (shape.gram.empty()) return alike;
  const int64_t block = shape.gram.block;
  alike.gram = Gram(shape.channels(), block);
  for (int64_t i = 0; i < shape.channels(); ++i) {
    alike.gram.values.data()[i * block + i % block] = 1.0F;
  }
  return alike;
}

InputStatistics CopyOf(const InputStatistics& statistics) {
  const std::vector<float> ones(static_cast<size_t>(statistics.channels()), 1.0F);
  return statistics.DividedBy(ones);
}

}  // namespace

ExpertTokens ReplaceUnderfed(const BlockSpec& block, std::span<const ResolvedLinear> linears,
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
    found = of_router ? CopyOf(all) : AllAlike(found);
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
