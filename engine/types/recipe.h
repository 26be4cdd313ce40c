// What the user wants done to which linear: a default scheme, overrides by module name, modules to
// skip. The same schema in recipe.yaml, in JSON, in report.json and (field by field) in the gRPC
// API. Reference: docs/recipe.md.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/json.h"
#include "engine/types/kv_cache.h"
#include "engine/types/model_spec.h"
#include "engine/types/options.h"
#include "engine/types/scheme.h"

namespace quantd {

// A scheme as asked for: what is not set comes from the default scheme, then from the method's own
// defaults.
struct SchemeRequest {
  std::optional<std::string> method;
  std::optional<int> bits;
  std::optional<std::string> number_format;
  std::optional<Granularity> granularity;
  std::optional<int64_t> group_size;
  std::optional<bool> symmetric;
  std::optional<ScaleRule> scale_rule;
  std::optional<ActivationScheme> activations;
  Options options;  // those that are set

  bool operator==(const SchemeRequest&) const = default;
};

// Whether `name` is a field of SchemeRequest ("method", "bits", ...); any other name in a scheme is
// an option of its method.
bool IsSchemeField(std::string_view name);

struct Override {
  std::string match;  // glob over module names: '*' any run of characters, '?' one; the whole name
                      // must match
  bool skip = false;  // leave in 16 bit
  SchemeRequest scheme;  // when not skipped
  bool operator==(const Override&) const = default;
};

// Which weights compute the activations that calibrate later blocks.
enum class Propagate { kOriginal, kQuantized };

// By what the residual stream is turned before anything else is done (engine/rotated_source):
// nothing, or random signs and Hadamard matrices.
enum class Rotate { kNone, kHadamard };
std::string_view NameOf(Rotate rotate);  // "none", "hadamard"

struct Recipe {
  SchemeRequest default_scheme;
  std::vector<Override> overrides;              // later ones win
  std::vector<std::string> skip = {"lm_head"};  // globs
  Propagate propagate = Propagate::kOriginal;
  KvCache kv_cache = KvCache::kNone;  // of the whole model
  Rotate rotate = Rotate::kNone;      // likewise
  bool operator==(const Recipe&) const = default;
};

// Reads recipe.yaml or JSON text (YAML 1.2 is a superset). Every problem at once, unknown keys
// refused.
absl::StatusOr<Recipe> ParseRecipe(std::string_view text);
absl::StatusOr<Recipe> RecipeFromJson(const Json& json, std::string_view path = "recipe");
Json ToJson(const Recipe& recipe);
// "model.layers.*.mlp.down_proj=rtn:bits=8:granularity=channel" or "GLOB=skip", as --override takes
// it. A key that is no field of a scheme is an option of the method.
absl::StatusOr<Override> ParseOverride(std::string_view text);
// "damping=0.05", as --option takes it, into `options`.
absl::Status ParseOption(std::string_view text, Json& options);

bool GlobMatches(std::string_view glob, std::string_view name);

// What is done to one linear: its scheme, or nothing.
struct ResolvedLinear {
  const LinearSpec* linear = nullptr;
  std::optional<Scheme> scheme = std::nullopt;  // nothing: stays in 16 bit
};

// One object per linear, as it stands in report.json: {name, method, bits, …} or {name, skip:
// true}.
Json ToJson(const ResolvedLinear& resolved);
Json ToJson(const Scheme& scheme);

}  // namespace quantd
