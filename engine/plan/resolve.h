// Recipe -> one scheme per linear. Which linear, by name; what is possible, by the method's own
// row.
#pragma once

#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/types/recipe.h"

namespace quantd {

// Applies the recipe to every linear of the model (blocks in order, then the head) and checks each
// result against its method (registry): bits, groups, shapes. Errors: RECIPE_INVALID with every
// module that does not fit, what it got and what would fit (for a group size: the nearest
// divisors); a glob that matches nothing.
absl::StatusOr<std::vector<ResolvedLinear>> ResolveRecipe(const Recipe& recipe,
                                                          const ModelSpec& model);
// What the recipe's default scheme does to the embedding `table` (role kEmbedding): nothing, unless
// its method decides about the embedding.
absl::StatusOr<std::optional<Scheme>> ResolveEmbedding(const Recipe& recipe, const ModelSpec& model,
                                                       const LinearSpec& table);

}  // namespace quantd
