#include "engine/plan/calibration_need.h"

#include <algorithm>

#include "base/checked.h"
#include "engine/method/registry.h"

namespace quantd {
namespace {

// Of what is not a method: the ranges of a cache, and where nothing asks for statistics.
constexpr int64_t kOtherTokens = int64_t{64} * 512;

int64_t TokensFor(const ResolvedLinear& entry, const ModelSpec& model) {
  const Method& method = *FindMethod(entry.scheme->method);
  if (!method.needs(*entry.scheme).any()) return 0;
  const int64_t tokens =
      std::max(method.calibration_tokens, method.tokens_per_input * entry.linear->in_features);
  if (entry.linear->expert < 0 || entry.linear->block < 0) return tokens;
  const auto& mixture = model.blocks[static_cast<size_t>(entry.linear->block)].mixture;
  if (!mixture.has_value() || mixture->top_k <= 0) return tokens;
  return DivideRoundingUp(tokens * mixture->experts, int64_t{mixture->top_k});
}

}  // namespace

int64_t NeededWindows(const Plan& plan, KvCache cache, int64_t tokens_per_window) {
  int64_t tokens = 0;
  for (const ResolvedLinear& entry : plan.linears) {
    if (entry.scheme.has_value()) tokens = std::max(tokens, TokensFor(entry, plan.model));
  }
  if (tokens == 0 || cache != KvCache::kNone) tokens = std::max(tokens, kOtherTokens);
  tokens = std::min(tokens, kMostCalibrationTokens);
  return std::max<int64_t>(1, DivideRoundingUp(tokens, tokens_per_window));
}

}  // namespace quantd
