// Recipes and schemes.
#include <string>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "proto/convert.h"
#include "proto/convert_options.h"
#include "proto/field_checks.h"
#include "proto/wire_enums.h"

namespace quantd {
namespace {

constexpr int64_t kMaxGroupSize = 1 << 20;

// Reads an enum field whose zero means "not said".
template <typename Ours, typename Wire, size_t N>
std::optional<Ours> ReadEnum(FieldChecks& checks, std::string_view name,
                             const EnumMap<Ours, Wire, N>& map, Wire value) {
  if (value == Wire{}) return std::nullopt;
  const auto ours = FromWire(map, value);
  if (!ours.has_value()) {
    std::string known;
    for (const auto& [unused, wire] : map) {
      absl::StrAppend(&known, known.empty() ? "" : ", ", static_cast<int>(wire));
    }
    checks.Wrong(name, absl::StrCat("value ", static_cast<int>(value), " of the enum"),
                 "a value that is built: one of " + known);
  }
  return ours;
}

SchemeRequest ReadScheme(const v1::Scheme& scheme, std::string_view path, FieldChecks& all) {
  FieldChecks checks(path);
  SchemeRequest request;
  if (!scheme.method().empty()) request.method = scheme.method();
  if (scheme.has_bits()) {
    request.bits = static_cast<int>(checks.InRange("bits", scheme.bits(), 1, 8));
  }
  if (!scheme.number_format().empty()) request.number_format = scheme.number_format();
  if (scheme.has_group_size()) {
    request.group_size = checks.InRange("group_size", scheme.group_size(), -1, kMaxGroupSize);
  }
  if (scheme.has_symmetric()) request.symmetric = scheme.symmetric();
  request.granularity = ReadEnum(checks, "granularity", kGranularities, scheme.granularity());
  request.scale_rule = ReadEnum(checks, "scale_rule", kScaleRules, scheme.scale_rule());
  request.activations = ReadEnum(checks, "activations", kActivations, scheme.activations());
  request.options = FromProto(scheme.options(), checks);
  all.Collect(checks.Finish());
  return request;
}

v1::Scheme ToProto(const SchemeRequest& request) {
  v1::Scheme scheme;
  if (request.method) scheme.set_method(*request.method);
  if (request.bits) scheme.set_bits(*request.bits);
  if (request.number_format) scheme.set_number_format(*request.number_format);
  if (request.group_size) scheme.set_group_size(*request.group_size);
  if (request.symmetric) scheme.set_symmetric(*request.symmetric);
  if (request.granularity) {
    scheme.set_granularity(
        ToWire(kGranularities, *request.granularity, v1::GRANULARITY_UNSPECIFIED));
  }
  if (request.scale_rule) {
    scheme.set_scale_rule(ToWire(kScaleRules, *request.scale_rule, v1::SCALE_RULE_UNSPECIFIED));
  }
  if (request.activations) {
    scheme.set_activations(ToWire(kActivations, *request.activations, v1::ACTIVATIONS_UNSPECIFIED));
  }
  *scheme.mutable_options() = ToProto(request.options);
  return scheme;
}

Override ReadOverride(const v1::Override& override_, std::string_view path, FieldChecks& all) {
  FieldChecks checks(path);
  Override result;
  result.match = override_.match();
  if (result.match.empty()) checks.Wrong("match", "nothing", "a glob over module names");
  switch (override_.action_case()) {
    case v1::Override::kScheme:
      result.scheme = ReadScheme(override_.scheme(), checks.Path("scheme"), checks);
      break;
    case v1::Override::kSkip:
      result.skip = override_.skip();
      if (!override_.skip()) checks.Wrong("skip", "false", "true, or a scheme in its place");
      break;
    case v1::Override::ACTION_NOT_SET:
      checks.Wrong("", "neither scheme nor skip", "one of them");
      break;
  }
  all.Collect(checks.Finish());
  return result;
}

}  // namespace

v1::Scheme ToProto(const Scheme& scheme) {
  v1::Scheme message;
  message.set_method(scheme.method);
  message.set_bits(scheme.bits);
  if (scheme.number != nullptr) message.set_number_format(std::string(scheme.number->name));
  if (scheme.block != nullptr) message.set_number_format(std::string(scheme.block->name));
  message.set_group_size(scheme.group_size);
  message.set_symmetric(scheme.symmetric);
  message.set_granularity(ToWire(kGranularities, scheme.granularity, v1::GRANULARITY_UNSPECIFIED));
  message.set_scale_rule(ToWire(kScaleRules, scheme.scale_rule, v1::SCALE_RULE_UNSPECIFIED));
  message.set_activations(ToWire(kActivations, scheme.activations, v1::ACTIVATIONS_UNSPECIFIED));
  *message.mutable_options() = ToProto(scheme.options);
  return message;
}

v1::Recipe ToProto(const Recipe& recipe) {
  v1::Recipe message;
  *message.mutable_default_scheme() = ToProto(recipe.default_scheme);
  for (const Override& entry : recipe.overrides) {
    v1::Override* added = message.add_overrides();
    added->set_match(entry.match);
    if (entry.skip) {
      added->set_skip(true);
    } else {
      *added->mutable_scheme() = ToProto(entry.scheme);
    }
  }
  v1::SkipList* skip = message.mutable_skip();
  for (const std::string& glob : recipe.skip) skip->add_globs(glob);
  message.set_propagate(ToWire(kPropagates, recipe.propagate, v1::PROPAGATE_UNSPECIFIED));
  // Said only where it is one: servers from before the field take the rest.
  if (recipe.rotate != Rotate::kNone) {
    message.set_rotate(ToWire(kRotations, recipe.rotate, v1::ROTATE_UNSPECIFIED));
  }
  if (recipe.kv_cache != KvCache::kNone) {
    message.set_kv_cache(ToWire(kKvCaches, recipe.kv_cache, v1::KV_CACHE_UNSPECIFIED));
  }
  return message;
}

absl::StatusOr<Recipe> FromProto(const v1::Recipe& message, std::string_view path) {
  FieldChecks checks(path);
  Recipe recipe;
  recipe.default_scheme =
      ReadScheme(message.default_scheme(), checks.Path("default_scheme"), checks);
  for (int i = 0; i < message.overrides_size(); ++i) {
    recipe.overrides.push_back(ReadOverride(
        message.overrides(i), checks.Path(absl::StrCat("overrides[", i, "]")), checks));
  }
  if (message.has_skip()) {
    recipe.skip.assign(message.skip().globs().begin(), message.skip().globs().end());
  }
  recipe.propagate =
      ReadEnum(checks, "propagate", kPropagates, message.propagate()).value_or(recipe.propagate);
  recipe.rotate = ReadEnum(checks, "rotate", kRotations, message.rotate()).value_or(recipe.rotate);
  recipe.kv_cache =
      ReadEnum(checks, "kv_cache", kKvCaches, message.kv_cache()).value_or(recipe.kv_cache);
  QD_RETURN_IF_ERROR(checks.Finish());
  return recipe;
}

}  // namespace quantd
