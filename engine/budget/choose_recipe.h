// Method "auto": bits per linear under a budget. ScaleBITS, EvoPress and llama.cpp's mixtures pick
// such recipes by search or by hand; here each linear's effect is measured, and what is chosen is
// verified.
#pragma once

#include "absl/status/statusor.h"
#include "engine/types/progress.h"
#include "engine/types/request.h"

namespace quantd {

// Whether the default scheme asks for method auto.
bool AsksForAuto(const Recipe& recipe);

// The recipe that a request with method auto means: the base method for every linear, with the bits
// that the budget allots it, as overrides by name before the user's own. With a budget in KL, the
// result is made and evaluated in a scratch folder beside the output, and bits are added or taken
// until it meets the budget (at most four times). `sink` hears progress and warnings. Errors:
// RECIPE_INVALID for a budget that no mixture of the widths which the format holds can meet; those
// of a run.
absl::StatusOr<Recipe> ChooseRecipe(const QuantizeRequest& request, ProgressSink& sink);
// The same, remembered in `folder`: a choice that an earlier run made of the same request, model
// and texts by the same engine is taken from there.
absl::StatusOr<Recipe> ChooseRecipeOnce(const QuantizeRequest& request, const std::string& folder,
                                        ProgressSink& sink);

}  // namespace quantd
