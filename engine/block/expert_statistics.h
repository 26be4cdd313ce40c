// Experts of a mixture see only the tokens that the router sends them. One that too few reached is
// calibrated by what is known otherwise.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "engine/calibrate/statistics.h"
#include "engine/types/model_spec.h"
#include "engine/types/recipe.h"

namespace quantd {

// Fewer tokens than this say nothing about an expert's inputs.
inline constexpr int64_t kFewestExpertTokens = 64;

struct ExpertTokens {
  std::vector<int64_t> of_input;      // by LinearSpec::input; 0 where no expert reads it
  std::vector<std::string> warnings;  // the experts that too few tokens reached
};

// Where fewer than kFewestExpertTokens reached an expert of `block`, puts in the place of its
// statistics, by LinearSpec::input: for gate and up those of all tokens (what the router reads),
// for down those of channels that are all alike, under which every method is its unweighted self.
// Whole Gram matrices in `scratch_folder`, as Gram::Make says; its errors.
absl::StatusOr<ExpertTokens> ReplaceUnderfed(const BlockSpec& block,
                                             std::span<const ResolvedLinear> linears,
                                             const std::string& scratch_folder,
                                             std::vector<InputStatistics>& statistics);

}  // namespace quantd
