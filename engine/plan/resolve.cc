#include "engine/plan/resolve.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "engine/method/block_scheme.h"
#include "engine/method/registry.h"
#include "engine/plan/refusals.h"

namespace quantd {
namespace {

std::string MethodNames() {
  std::string names;
  for (const Method& method : Methods()) {
    absl::StrAppend(&names, names.empty() ? "" : ", ", ToAbsl(method.name));
  }
  return names;
}

template <typename T>
void TakeIfSet(const std::optional<T>& from, std::optional<T>& to) {
  if (from.has_value()) to = from;
}

// What is set in `over` replaces what is in `base`. Another method starts from that method's own
// defaults.
SchemeRequest Merge(const SchemeRequest& base, const SchemeRequest& over) {
  const bool other_method = over.method.has_value() && over.method != base.method;
  SchemeRequest merged = other_method ? SchemeRequest{} : base;
  TakeIfSet(over.method, merged.method);
  // Either says what numbers are; the later word replaces both.
  if (over.bits.has_value()) merged.number_format.reset();
  if (over.number_format.has_value()) merged.bits.reset();
  TakeIfSet(over.bits, merged.bits);
  TakeIfSet(over.number_format, merged.number_format);
  TakeIfSet(over.granularity, merged.granularity);
  TakeIfSet(over.group_size, merged.group_size);
  TakeIfSet(over.symmetric, merged.symmetric);
  TakeIfSet(over.scale_rule, merged.scale_rule);
  TakeIfSet(over.activations, merged.activations);
  merged.options.Update(over.options);
  return merged;
}

// By its module name; the output projection also by the name that most families give it.
bool Hits(const std::string& glob, const LinearSpec& linear) {
  return GlobMatches(glob, linear.name) ||
         (linear.role == LinearRole::kHead && GlobMatches(glob, "lm_head"));
}

const Method* MethodOf(const SchemeRequest& request) {
  return FindMethod(request.method.value_or("rtn"));
}

// What the recipe says of one linear; nothing: leave it alone.
std::optional<SchemeRequest> RequestFor(const Recipe& recipe, const LinearSpec& linear) {
  SchemeRequest request = recipe.default_scheme;
  // The `lm_head` that every recipe skips unless told otherwise is no answer to such a request.
  const bool decides = linear.role == LinearRole::kHead && AsksForBlocks(request);
  bool skipped = std::any_of(recipe.skip.begin(), recipe.skip.end(), [&](const std::string& glob) {
    return Hits(glob, linear) && !(decides && glob == Recipe{}.skip.front());
  });
  for (const Override& entry : recipe.overrides) {
    if (!Hits(entry.match, linear)) continue;
    skipped = entry.skip;
    if (!entry.skip) request = Merge(request, entry.scheme);
  }
  if (skipped) return std::nullopt;
  return request;
}

std::vector<Violation> GlobsThatHitNothing(const Recipe& recipe,
                                           const std::vector<const LinearSpec*>& linears) {
  std::vector<Violation> violations;
  const auto check = [&](const std::string& glob, std::string where) {
    const bool hit = std::any_of(linears.begin(), linears.end(),
                                 [&](const LinearSpec* linear) { return Hits(glob, *linear); });
    if (hit) return;
    violations.push_back({.where = std::move(where),
                          .got = glob + ", which matches no linear",
                          .wanted = "a glob over module names such as " + linears.front()->name});
  };
  for (size_t i = 0; i < recipe.overrides.size(); ++i) {
    check(recipe.overrides[i].match, absl::StrCat("recipe.overrides[", i, "].match"));
  }
  for (size_t i = 0; i < recipe.skip.size(); ++i)
    check(recipe.skip[i], absl::StrCat("recipe.skip[", i, "]"));
  return violations;
}

absl::StatusOr<Scheme> ResolveOne(const SchemeRequest& request, const LinearSpec& linear,
                                  const ModelSpec& model) {
  const std::string name = request.method.value_or("rtn");
  const Method* method = MethodOf(request);
  if (method == nullptr) {
    return MakeError(
        Reason::kRecipeInvalid, "refused",
        Violation{
            .where = linear.name + ": method", .got = name, .wanted = "one of " + MethodNames()});
  }
  QD_ASSIGN_OR_RETURN(Scheme scheme, method->resolve(request, linear, model.dtype));
  if (linear.expert >= 0 && scheme.activations == ActivationScheme::kStatic) {
    return MakeError(Reason::kRecipeInvalid, "refused",
                     Violation{.where = linear.name,
                               .got = "activations static, for an expert that a text may not reach",
                               .wanted = "activations dynamic or none"});
  }
  if (method->settle != nullptr) QD_RETURN_IF_ERROR(method->settle(model, linear, scheme));
  if (linear.role != LinearRole::kHead) return scheme;
  if (model.tied_embeddings) {
    return MakeError(
        Reason::kRecipeInvalid, "refused",
        Violation{.where = linear.name,
                  .got = "a scheme for an output projection that is tied to the embedding",
                  .wanted = "lm_head in skip"});
  }
  if (FindMethod(scheme.method)->needs(scheme).any()) {
    return MakeError(
        Reason::kRecipeInvalid, "refused",
        Violation{
            .where = linear.name,
            .got = Describe(scheme) + ", which needs calibration statistics",
            .wanted = "a scheme without calibration: none are gathered for the output projection"});
  }
  return scheme;
}

}  // namespace

absl::StatusOr<std::vector<ResolvedLinear>> ResolveRecipe(const Recipe& recipe,
                                                          const ModelSpec& model) {
  const std::vector<const LinearSpec*> linears = model.Linears();
  std::vector<Violation> violations = GlobsThatHitNothing(recipe, linears);
  std::vector<ResolvedLinear> resolved;
  for (const LinearSpec* linear : linears) {
    ResolvedLinear entry{.linear = linear, .scheme = std::nullopt};
    auto request = RequestFor(recipe, *linear);
    const bool tied = linear->role == LinearRole::kHead && model.tied_embeddings;
    if (request.has_value() && tied && AsksForBlocks(*request)) request.reset();
    if (request.has_value() && !IsRouting(linear->role)) {
      auto scheme = ResolveOne(*request, *linear, model);
      for (Violation& violation : ViolationsOf(scheme.status()))
        violations.push_back(std::move(violation));
      if (scheme.ok()) entry.scheme = *std::move(scheme);
    }
    resolved.push_back(std::move(entry));
  }
  if (violations.empty()) return resolved;
  return Together(MakeError(Reason::kRecipeInvalid, "the recipe does not fit the model",
                            std::move(violations)));
}

absl::StatusOr<std::optional<Scheme>> ResolveEmbedding(const Recipe& recipe, const ModelSpec& model,
                                                       const LinearSpec& table) {
  if (!AsksForBlocks(recipe.default_scheme)) return std::nullopt;
  QD_ASSIGN_OR_RETURN(Scheme scheme, ResolveOne(recipe.default_scheme, table, model));
  return scheme;
}

}  // namespace quantd
