#include "engine/inspect/declared.h"

#include <re2/re2.h>

#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "base/error.h"

namespace quantd {
namespace {

using SchemeOf = std::function<std::optional<DeclaredScheme>(std::string_view)>;
constexpr int64_t kMaxGroup = int64_t{1} << 31;

// A group size as AWQ and GPTQ write it: -1 for one group per row.
void SetGroup(DeclaredScheme& scheme, int64_t group_size) {
  scheme.granularity = group_size > 0 ? Granularity::kGroup : Granularity::kChannel;
  scheme.group_size = group_size > 0 ? group_size : 0;
}

bool IsHead(std::string_view module) {
  return module == "lm_head" || module.ends_with(".lm_head") || module == "output" ||
         module == "embed_out";
}

absl::StatusOr<SchemeOf> ReadAwq(const Json& config, Declared* declared) {
  JsonFields fields(config, "quantization_config");
  DeclaredScheme scheme;
  scheme.bits = static_cast<int>(fields.Integer("bits", fields.Integer("w_bit", 4, 1, 8), 1, 8));
  SetGroup(scheme, fields.Integer("group_size", fields.Integer("q_group_size", 128, -1, kMaxGroup),
                                  -1, kMaxGroup));
  scheme.symmetric = !fields.Bool("zero_point", true);
  declared->variant = absl::AsciiStrToLower(fields.String("version", "gemm"));
  std::vector<std::string> skipped;
  if (const Json* list = fields.Value("modules_to_not_convert"); list && list->is_array()) {
    skipped = fields.Strings("modules_to_not_convert");
  }
  QD_RETURN_IF_ERROR(fields.FinishIgnoringUnknown());
  return SchemeOf([=](std::string_view module) -> std::optional<DeclaredScheme> {
    if (IsHead(module)) return std::nullopt;
    for (const std::string& part : skipped) {
      if (module.find(part) != std::string_view::npos) return std::nullopt;
    }
    return scheme;
  });
}

// A regular expression that matches from the start, as Python's re.match takes it. Compiled once,
// for every module of the model. One that is none matches nothing.
class StartPattern {
 public:
  explicit StartPattern(const std::string& pattern)
      : regex_(std::make_shared<const RE2>(pattern, OptionsOfAll())) {}
  bool Matches(std::string_view name) const {
    const re2::StringPiece text(name.data(), name.size());
    return regex_->ok() && regex_->Match(text, 0, text.size(), RE2::ANCHOR_START, nullptr, 0);
  }

 private:
  static RE2::Options OptionsOfAll() {
    RE2::Options options;
    options.set_log_errors(false);
    options.set_max_mem(1 << 20);
    return options;
  }
  std::shared_ptr<const RE2> regex_;  // shared by the copies of what holds it
};

struct DynamicRule {
  StartPattern pattern;
  std::optional<DeclaredScheme> scheme;
};

// `dynamic` of GPTQ: {"+:regex": {"bits": 8}, "-:regex": {}}; the first that matches decides.
absl::StatusOr<std::vector<DynamicRule>> ReadDynamic(const Json& config,
                                                     const DeclaredScheme& base) {
  std::vector<DynamicRule> rules;
  const auto dynamic = config.find("dynamic");
  if (dynamic == config.end() || !dynamic->is_object()) return rules;
  for (const auto& [key, value] : dynamic->items()) {
    const StartPattern pattern(key.starts_with("+:") || key.starts_with("-:") ? key.substr(2)
                                                                              : key);
    if (key.starts_with("-:") || !value.is_object()) {
      rules.push_back({pattern, std::nullopt});
      continue;
    }
    DeclaredScheme scheme = base;
    JsonFields fields(value, "quantization_config.dynamic." + key);
    scheme.bits = static_cast<int>(fields.Integer("bits", base.bits.value_or(4), 1, 8));
    if (fields.Has("group_size")) SetGroup(scheme, fields.Integer("group_size", 0, -1, kMaxGroup));
    scheme.symmetric = fields.Bool("sym", base.symmetric.value_or(true));
    QD_RETURN_IF_ERROR(fields.FinishIgnoringUnknown());
    rules.push_back({pattern, scheme});
  }
  return rules;
}

absl::StatusOr<SchemeOf> ReadGptq(const Json& config, Declared* declared) {
  JsonFields fields(config, "quantization_config");
  DeclaredScheme scheme;
  scheme.bits = static_cast<int>(fields.Integer("bits", 4, 1, 8));
  SetGroup(scheme, fields.Integer("group_size", 128, -1, kMaxGroup));
  scheme.symmetric = fields.Bool("sym", true);
  const bool head = fields.Bool("lm_head", false);
  declared->variant = fields.String("checkpoint_format", "gptq");
  QD_RETURN_IF_ERROR(fields.FinishIgnoringUnknown());
  QD_ASSIGN_OR_RETURN(const std::vector<DynamicRule> rules, ReadDynamic(config, scheme));
  return SchemeOf([=](std::string_view module) -> std::optional<DeclaredScheme> {
    if (IsHead(module) && !head) return std::nullopt;
    for (const DynamicRule& rule : rules) {
      if (rule.pattern.Matches(module)) return rule.scheme;
    }
    return scheme;
  });
}

// A target or an ignored name of compressed-tensors: a module, "re:pattern", or a class of modules.
struct Target {
  explicit Target(const std::string& text) : name(text) {
    if (name.starts_with("re:")) pattern.emplace(name.substr(3));
  }
  bool Names(std::string_view module) const {
    if (pattern.has_value()) return pattern->Matches(module);
    return module == name || (module.ends_with(name) && name.find('.') != std::string::npos &&
                              module[module.size() - name.size() - 1] == '.');
  }
  std::string name;
  std::optional<StartPattern> pattern;
};

std::vector<Target> TargetsOf(const std::vector<std::string>& names) {
  return {names.begin(), names.end()};
}

std::optional<ActivationScheme> ActivationsOf(const Json& group) {
  const auto found = group.find("input_activations");
  if (found == group.end() || !found->is_object()) return ActivationScheme::kNone;
  const auto dynamic = found->find("dynamic");
  const bool is_static = dynamic == found->end() || !dynamic->is_boolean() || !*dynamic;
  return is_static ? ActivationScheme::kStatic : ActivationScheme::kDynamicToken;
}

absl::StatusOr<DeclaredScheme> ReadWeights(const Json& group, const std::string& path) {
  DeclaredScheme scheme;
  scheme.activations = ActivationsOf(group);
  const auto found = group.find("weights");
  if (found == group.end() || !found->is_object()) return scheme;
  JsonFields fields(*found, path + ".weights");
  scheme.type = fields.String("type", "int");
  scheme.bits = static_cast<int>(fields.Integer("num_bits", 8, 1, 16));
  scheme.symmetric = fields.Bool("symmetric", true);
  const Json* strategy = fields.Value("strategy");
  const std::string name = strategy != nullptr && strategy->is_string() ? *strategy : Json("group");
  if (name == "channel") scheme.granularity = Granularity::kChannel;
  if (name == "tensor") scheme.granularity = Granularity::kTensor;
  if (const Json* size = fields.Value("group_size"); name == "group" && size != nullptr) {
    if (size->is_number_integer()) SetGroup(scheme, fields.Integer("group_size", 0, -1, kMaxGroup));
  }
  QD_RETURN_IF_ERROR(fields.FinishIgnoringUnknown());
  return scheme;
}

std::vector<std::string> StringsAt(const Json& object, const char* key) {
  std::vector<std::string> strings;
  const auto found = object.find(key);
  if (found == object.end() || !found->is_array()) return strings;
  for (const Json& item : *found) {
    if (item.is_string()) strings.push_back(item);
  }
  return strings;
}

struct TargetedScheme {
  std::vector<Target> targets;
  DeclaredScheme scheme;
};

absl::StatusOr<SchemeOf> ReadCompressedTensors(const Json& config, Declared* declared) {
  JsonFields fields(config, "quantization_config");
  declared->variant = fields.String("format", "");
  QD_RETURN_IF_ERROR(fields.FinishIgnoringUnknown());
  std::vector<TargetedScheme> groups;
  if (const auto found = config.find("config_groups");
      found != config.end() && found->is_object()) {
    for (const auto& [name, group] : found->items()) {
      if (!group.is_object()) continue;
      QD_ASSIGN_OR_RETURN(DeclaredScheme scheme, ReadWeights(group, "config_groups." + name));
      groups.push_back({TargetsOf(StringsAt(group, "targets")), std::move(scheme)});
    }
  }
  return SchemeOf([groups, ignored = TargetsOf(StringsAt(config, "ignore"))](
                      std::string_view module) -> std::optional<DeclaredScheme> {
    for (const Target& target : ignored) {
      if (target.Names(module)) return std::nullopt;
    }
    // Names win over classes.
    const DeclaredScheme* by_class = nullptr;
    for (const TargetedScheme& group : groups) {
      for (const Target& target : group.targets) {
        if (target.Names(module)) return group.scheme;
        if (target.name == "Linear") by_class = &group.scheme;
      }
    }
    if (by_class == nullptr) return std::nullopt;
    return *by_class;
  });
}

absl::StatusOr<DeclaredScheme> ReadHqqParameters(const Json& object, const std::string& path) {
  DeclaredScheme scheme;
  const auto found = object.find("weight_quant_params");
  const Json& values = found != object.end() && found->is_object() ? *found : object;
  JsonFields fields(values, path);
  scheme.bits = static_cast<int>(fields.Integer("nbits", 4, 1, 8));
  if (const Json* size = fields.Value("group_size"); size != nullptr && size->is_number_integer()) {
    SetGroup(scheme, fields.Integer("group_size", 64, -1, kMaxGroup));
  }
  scheme.symmetric = false;
  QD_RETURN_IF_ERROR(fields.FinishIgnoringUnknown());
  return scheme;
}

absl::StatusOr<SchemeOf> ReadHqq(const Json& config) {
  const std::vector<std::string> skipped = StringsAt(config, "skip_modules");
  const auto found = config.find("quant_config");
  const Json values = found != config.end() && found->is_object() ? *found : Json::object();
  std::vector<std::pair<std::string, DeclaredScheme>> by_tag;
  std::optional<DeclaredScheme> all;
  const bool uniform = values.contains("weight_quant_params") || values.contains("nbits");
  if (uniform) {
    QD_ASSIGN_OR_RETURN(all, ReadHqqParameters(values, "quant_config"));
  } else {
    for (const auto& [tag, parameters] : values.items()) {
      if (!parameters.is_object()) continue;
      QD_ASSIGN_OR_RETURN(DeclaredScheme scheme,
                          ReadHqqParameters(parameters, "quant_config." + tag));
      by_tag.emplace_back(tag, std::move(scheme));
    }
  }
  return SchemeOf([=](std::string_view module) -> std::optional<DeclaredScheme> {
    for (const std::string& part : skipped) {
      if (module.find(part) != std::string_view::npos) return std::nullopt;
    }
    for (const auto& [tag, scheme] : by_tag) {
      if (module.ends_with("." + tag)) return scheme;
    }
    return all;
  });
}

}  // namespace

absl::StatusOr<Declared> ReadDeclared(const Json& quantization_config) {
  Declared declared;
  declared.config = quantization_config;
  if (quantization_config.is_null()) return declared;
  if (!quantization_config.is_object()) {
    return MakeError(Reason::kModelCorrupt, "config.json",
                     Violation{"quantization_config", "another type", "an object"});
  }
  JsonFields fields(quantization_config, "quantization_config");
  declared.method = fields.String("quant_method", "");
  if (declared.method.empty() && quantization_config.contains("w_bit")) declared.method = "awq";
  if (declared.method.empty() && quantization_config.contains("config_groups")) {
    declared.method = "compressed-tensors";
  }
  if (declared.method.empty()) declared.method = "unknown";
  absl::StatusOr<SchemeOf> scheme_of = SchemeOf();
  if (declared.method == "awq") scheme_of = ReadAwq(quantization_config, &declared);
  if (declared.method == "gptq") scheme_of = ReadGptq(quantization_config, &declared);
  if (declared.method == "hqq") scheme_of = ReadHqq(quantization_config);
  if (declared.method == "compressed-tensors") {
    scheme_of = ReadCompressedTensors(quantization_config, &declared);
  }
  if (!scheme_of.ok()) return scheme_of.status();
  declared.scheme_of = *std::move(scheme_of);
  return declared;
}

}  // namespace quantd
