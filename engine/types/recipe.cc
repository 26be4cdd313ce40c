#include "engine/types/recipe.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <exception>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/error.h"

namespace quantd {
namespace {

constexpr int64_t kMaxGroupSize = 1 << 20;
constexpr int kMaxYamlDepth = 32;
constexpr size_t kMaxRecipeBytes = 1 << 20;

// The values that an enum field may have in a recipe, by their names.
template <typename Enum, size_t N>
std::optional<Enum> ByName(const std::array<Enum, N>& values, std::string_view name) {
  for (const Enum value : values) {
    if (NameOf(value) == name) return value;
  }
  return std::nullopt;
}

template <typename Enum, size_t N>
std::string NamesOf(const std::array<Enum, N>& values) {
  std::string names;
  for (const Enum value : values)
    absl::StrAppend(&names, names.empty() ? "" : ", ", ToAbsl(NameOf(value)));
  return names;
}

constexpr std::array kGranularities = {Granularity::kTensor, Granularity::kChannel,
                                       Granularity::kGroup};
constexpr std::array kScaleRules = {ScaleRule::kAbsmax, ScaleRule::kMse, ScaleRule::kWeightedMse,
                                    ScaleRule::kHessian};
constexpr std::array kActivations = {ActivationScheme::kNone, ActivationScheme::kDynamicToken,
                                     ActivationScheme::kStatic};
constexpr std::array kRotations = {Rotate::kNone, Rotate::kHadamard};
constexpr std::array kKvCaches = {KvCache::kNone, KvCache::kFp8};
// The fields of a scheme that every method may have.
constexpr std::array<std::string_view, 8> kSchemeFields = {
    "method",     "bits",      "number_format", "granularity",
    "group_size", "symmetric", "scale_rule",    "activations"};

template <typename Enum, size_t N>
std::optional<Enum> EnumField(JsonFields& fields, std::string_view key,
                              const std::array<Enum, N>& values) {
  const std::string name = fields.String(key, "");
  if (name.empty()) return std::nullopt;
  const auto value = ByName(values, name);
  if (!value.has_value()) fields.Wrong(key, name, "one of " + NamesOf(values));
  return value;
}

// Three levels are often written as log2(3) bits. They are stored in 2.
bool SaysTernary(JsonFields& fields) {
  constexpr double kTernaryBits = 1.58;
  const Json* bits = fields.Value("bits");
  return bits != nullptr && bits->is_number_float() && bits->get<double>() == kTernaryBits;
}

// Reads the scheme's fields out of `fields`, whose other fields are the caller's.
SchemeRequest ReadScheme(JsonFields& fields) {
  SchemeRequest scheme;
  if (fields.Has("method")) scheme.method = fields.String("method", "");
  const bool ternary = SaysTernary(fields);
  if (ternary) {
    scheme.bits = 2;
  } else if (fields.Has("bits")) {
    scheme.bits = static_cast<int>(fields.Integer("bits", 0, 1, 8));
  }
  if (fields.Has("number_format")) scheme.number_format = fields.String("number_format", "");
  if (fields.Has("group_size"))
    scheme.group_size = fields.Integer("group_size", 0, -1, kMaxGroupSize);
  if (fields.Has("symmetric")) scheme.symmetric = fields.Bool("symmetric", true);
  scheme.granularity = EnumField(fields, "granularity", kGranularities);
  scheme.scale_rule = EnumField(fields, "scale_rule", kScaleRules);
  scheme.activations = EnumField(fields, "activations", kActivations);
  scheme.options = OptionsFromJson(fields);
  if (ternary) scheme.options.Set("ternary", true);
  // Known to Finish even when they were not given.
  for (const std::string_view key : kSchemeFields) fields.Value(key);
  return scheme;
}

void WriteScheme(const SchemeRequest& scheme, Json& json) {
  if (scheme.method) json["method"] = *scheme.method;
  if (scheme.bits) json["bits"] = *scheme.bits;
  if (scheme.number_format) json["number_format"] = *scheme.number_format;
  if (scheme.granularity) json["granularity"] = NameOf(*scheme.granularity);
  if (scheme.group_size) json["group_size"] = *scheme.group_size;
  if (scheme.symmetric) json["symmetric"] = *scheme.symmetric;
  if (scheme.scale_rule) json["scale_rule"] = NameOf(*scheme.scale_rule);
  if (scheme.activations) json["activations"] = NameOf(*scheme.activations);
  if (!scheme.options.empty()) json["options"] = ToJson(scheme.options);
}

absl::StatusOr<Override> ReadOverride(const Json& json, std::string_view path) {
  JsonFields fields(json, path);
  Override result;
  result.match = fields.String("match", "");
  result.skip = fields.Bool("skip", false);
  result.scheme = ReadScheme(fields);
  if (result.match.empty()) fields.Wrong("match", "nothing", "a glob over module names");
  if (result.skip && result.scheme != SchemeRequest{}) {
    fields.Wrong("skip", "true beside a scheme", "one or the other");
  }
  QD_RETURN_IF_ERROR(fields.Finish());
  return result;
}

// Plain scalars become numbers and booleans as YAML's core schema has them; quoted ones stay
// strings.
Json ScalarToJson(const YAML::Node& node) {
  const std::string& text = node.Scalar();
  if (node.Tag() == "!") return text;  // quoted
  if (text == "true") return true;
  if (text == "false") return false;
  if (text == "null" || text == "~" || text.empty()) return nullptr;
  int64_t integer = 0;
  double number = 0;
  if (absl::SimpleAtoi(text, &integer)) return integer;
  if (absl::SimpleAtod(text, &number)) return number;
  return text;
}

absl::StatusOr<Json> YamlToJson(const YAML::Node& node, int depth) {
  if (depth > kMaxYamlDepth) {
    return MakeError(
        Reason::kInvalidField, "refused",
        Violation{.where = "recipe", .got = "nesting too deep", .wanted = "at most 32 levels"});
  }
  if (node.IsSequence()) {
    Json list = Json::array();
    for (const YAML::Node& entry : node) {
      QD_ASSIGN_OR_RETURN(Json value, YamlToJson(entry, depth + 1));
      list.push_back(std::move(value));
    }
    return list;
  }
  if (node.IsMap()) {
    Json object = Json::object();
    for (const auto& entry : node) {
      const std::string key = entry.first.Scalar();
      if (object.contains(key)) {
        return MakeError(
            Reason::kInvalidField, "refused",
            Violation{.where = "recipe." + key, .got = "given twice", .wanted = "once"});
      }
      QD_ASSIGN_OR_RETURN(object[key], YamlToJson(entry.second, depth + 1));
    }
    return object;
  }
  if (node.IsScalar()) return ScalarToJson(node);
  return Json(nullptr);
}

absl::StatusOr<Json> ParseYaml(std::string_view text) {
  try {
    return YamlToJson(YAML::Load(std::string(text)), 0);
  } catch (const std::exception& error) {
    return MakeError(Reason::kInvalidField, "not valid YAML",
                     Violation{.where = "recipe", .got = error.what(), .wanted = "YAML or JSON"});
  }
}

}  // namespace

bool IsSchemeField(std::string_view name) {
  return std::find(kSchemeFields.begin(), kSchemeFields.end(), name) != kSchemeFields.end();
}

absl::StatusOr<Recipe> ParseRecipe(std::string_view text) {
  if (text.size() > kMaxRecipeBytes) {
    return MakeError(Reason::kInvalidField, "refused",
                     Violation{.where = "recipe",
                               .got = absl::StrCat(text.size(), " bytes"),
                               .wanted = absl::StrCat("at most ", kMaxRecipeBytes)});
  }
  // An alias can multiply what is behind it; recipes have no use for one.
  if (text.find('&') != std::string_view::npos && text.find('*') != std::string_view::npos &&
      text.find(": &") != std::string_view::npos) {
    return MakeError(
        Reason::kInvalidField, "refused",
        Violation{.where = "recipe", .got = "a YAML anchor", .wanted = "plain values"});
  }
  QD_ASSIGN_OR_RETURN(const Json json, ParseYaml(text));
  return RecipeFromJson(json);
}

std::string_view NameOf(Rotate rotate) { return rotate == Rotate::kHadamard ? "hadamard" : "none"; }

absl::StatusOr<Recipe> RecipeFromJson(const Json& json, std::string_view path) {
  const std::string at(path);
  JsonFields fields(json, path);
  Recipe recipe;
  std::vector<Violation> violations;
  const auto collect = [&](const absl::Status& status) {
    for (Violation& violation : ViolationsOf(status)) violations.push_back(std::move(violation));
  };
  if (const Json* scheme = fields.Value("default")) {
    JsonFields inner(*scheme, at + ".default");
    recipe.default_scheme = ReadScheme(inner);
    collect(inner.Finish());
  }
  if (const Json* overrides = fields.Value("overrides")) {
    if (!overrides->is_array()) fields.Wrong("overrides", DumpJson(*overrides), "a list");
    for (size_t i = 0; overrides->is_array() && i < overrides->size(); ++i) {
      auto entry = ReadOverride((*overrides)[i], absl::StrCat(at, ".overrides[", i, "]"));
      collect(entry.status());
      if (entry.ok()) recipe.overrides.push_back(*std::move(entry));
    }
  }
  if (fields.Has("skip")) recipe.skip = fields.Strings("skip");
  fields.Value("skip");
  const std::string propagate = fields.String("propagate", "original");
  if (propagate == "quantized") {
    recipe.propagate = Propagate::kQuantized;
  } else if (propagate != "original") {
    fields.Wrong("propagate", propagate, "original or quantized");
  }
  recipe.kv_cache = EnumField(fields, "kv_cache", kKvCaches).value_or(recipe.kv_cache);
  recipe.rotate = EnumField(fields, "rotate", kRotations).value_or(recipe.rotate);
  collect(fields.Finish());
  if (!violations.empty())
    return MakeError(Reason::kInvalidField, "refused", std::move(violations));
  return recipe;
}

Json ToJson(const Recipe& recipe) {
  Json json = {{"default", Json::object()}, {"overrides", Json::array()}, {"skip", recipe.skip}};
  WriteScheme(recipe.default_scheme, json["default"]);
  for (const Override& entry : recipe.overrides) {
    Json item = {{"match", entry.match}};
    if (entry.skip) item["skip"] = true;
    WriteScheme(entry.scheme, item);
    json["overrides"].push_back(std::move(item));
  }
  json["propagate"] = recipe.propagate == Propagate::kOriginal ? "original" : "quantized";
  if (recipe.kv_cache != KvCache::kNone) json["kv_cache"] = NameOf(recipe.kv_cache);
  if (recipe.rotate != Rotate::kNone) json["rotate"] = NameOf(recipe.rotate);
  return json;
}

absl::StatusOr<Override> ParseOverride(std::string_view text) {
  const std::string shown(text);
  const size_t equals = text.find('=');
  const auto refuse = [&](std::string_view wanted) {
    return MakeError(Reason::kInvalidField, "refused",
                     Violation{.where = "--override", .got = shown, .wanted = std::string(wanted)});
  };
  if (equals == std::string_view::npos || equals == 0)
    return refuse("GLOB=METHOD[:KEY=VALUE]… or GLOB=skip");
  Json json = {{"match", std::string(text.substr(0, equals))}};
  const std::string rest(text.substr(equals + 1));
  if (rest == "skip") {
    json["skip"] = true;
    return ReadOverride(json, "--override");
  }
  const std::vector<std::string> parts = absl::StrSplit(rest, ':');
  if (!parts[0].empty()) json["method"] = parts[0];
  for (size_t i = 1; i < parts.size(); ++i) {
    const std::pair<std::string, std::string> pair =
        absl::StrSplit(parts[i], absl::MaxSplits('=', 1));
    if (pair.first.empty() || pair.second.empty()) return refuse("KEY=VALUE after each ':'");
    YAML::Node value;
    value = pair.second;
    (IsSchemeField(pair.first) ? json : json["options"])[pair.first] = ScalarToJson(value);
  }
  return ReadOverride(json, "--override");
}

absl::Status ParseOption(std::string_view text, Json& options) {
  const size_t equals = text.find('=');
  if (equals == std::string_view::npos || equals == 0 || equals + 1 == text.size()) {
    return MakeError(
        Reason::kInvalidField, "refused",
        Violation{
            .where = "--option", .got = std::string(text), .wanted = "NAME=VALUE (see `methods`)"});
  }
  YAML::Node value;
  value = std::string(text.substr(equals + 1));
  options[std::string(text.substr(0, equals))] = ScalarToJson(value);
  return absl::OkStatus();
}

bool GlobMatches(std::string_view glob, std::string_view name) {
  // Backtracks only to the last '*': linear in practice, quadratic at worst.
  size_t g = 0, n = 0;
  size_t star = std::string_view::npos, resume = 0;
  while (n < name.size()) {
    if (g < glob.size() && glob[g] == '*') {
      star = g++;
      resume = n;
    } else if (g < glob.size() && (glob[g] == '?' || glob[g] == name[n])) {
      ++g;
      ++n;
    } else if (star != std::string_view::npos) {
      g = star + 1;
      n = ++resume;
    } else {
      return false;
    }
  }
  while (g < glob.size() && glob[g] == '*') ++g;
  return g == glob.size();
}

Json ToJson(const Scheme& scheme) {
  Json json = {{"method", scheme.method},
               {"bits", scheme.bits},
               {"granularity", NameOf(scheme.granularity)},
               {"group_size", scheme.group_size},
               {"symmetric", scheme.symmetric},
               {"scale_rule", NameOf(scheme.scale_rule)},
               {"activations", NameOf(scheme.activations)},
               {"options", ToJson(scheme.options)}};
  if (scheme.number != nullptr) json["number_format"] = scheme.number->name;
  if (scheme.block != nullptr) json["number_format"] = json["block_type"] = scheme.block->name;
  return json;
}

Json ToJson(const ResolvedLinear& resolved) {
  Json json = {{"name", resolved.linear->name}};
  if (!resolved.scheme.has_value()) {
    json["skip"] = true;
    return json;
  }
  json.update(ToJson(*resolved.scheme));
  return json;
}

}  // namespace quantd
