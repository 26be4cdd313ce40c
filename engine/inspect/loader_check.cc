// The shape rules of the engines, on what a folder stores. The rules are the formats' own.

#include <algorithm>
#include <charconv>
#include <map>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "engine/format/registry.h"
#include "engine/inspect/model_check.h"

namespace quantd {
namespace {

LinearRole RoleOf(std::string_view name) {
  static constexpr std::pair<std::string_view, LinearRole> kRoles[] = {
      {"q_proj", LinearRole::kQ},       {"k_proj", LinearRole::kK},
      {"v_proj", LinearRole::kV},       {"o_proj", LinearRole::kO},
      {"gate_proj", LinearRole::kGate}, {"up_proj", LinearRole::kUp},
      {"down_proj", LinearRole::kDown}, {"lm_head", LinearRole::kHead}};
  for (const auto& [suffix, role] : kRoles) {
    if (name.ends_with(suffix)) return role;
  }
  return LinearRole::kOther;
}

// A number for every part of the model in which linears may be fused: what stands before the last
// two components, "model.layers.3" or "model.layers.3.mlp.experts.7".
std::string HomeOf(const std::string& name) { return name.substr(0, name.rfind('.')); }

std::string_view FormatOf(Layout layout) {
  switch (layout) {
    case Layout::kPackQuantized:
    case Layout::kIntQuantized:
      return "compressed-tensors";
    case Layout::kAwqGemm:
      return "awq";
    case Layout::kGptq:
      return "gptq";
    case Layout::kHqq:
      return "hqq";
    default:
      return "";
  }
}

// One line of a refusal that may name hundreds of modules.
std::string Summary(const absl::Status& status) {
  const std::vector<Violation> violations = ViolationsOf(status);
  if (violations.empty()) return std::string(status.message());
  const Violation& first = violations.front();
  std::string text = absl::StrCat(first.where, ": ", first.got, ", wanted ", first.wanted);
  if (violations.size() > 1) absl::StrAppend(&text, "; and ", violations.size() - 1, " more");
  return text;
}

}  // namespace

void CheckLoaders(std::span<const StoredModule> modules, const Json& config,
                  std::string_view loader, Findings* findings) {
  const Format* format = nullptr;
  std::map<std::string, int> homes;
  std::vector<LinearSpec> specs;
  std::vector<std::optional<Scheme>> schemes;
  for (const StoredModule& module : modules) {
    const bool quantized = module.layout != Layout::kDense;
    if (quantized && !module.usable) continue;  // what is damaged has been told
    if (!quantized && !IsLinearName(module.name)) continue;
    if (quantized && format == nullptr) format = FindFormat(FormatOf(module.layout));
    LinearSpec linear;
    linear.name = module.name;
    linear.role = RoleOf(module.name);
    linear.out_features = module.out_features;
    linear.in_features = module.in_features;
    linear.block = homes.emplace(HomeOf(module.name), static_cast<int>(homes.size())).first->second;
    specs.push_back(std::move(linear));
    schemes.push_back(quantized ? std::optional<Scheme>(module.scheme) : std::nullopt);
  }
  if (format == nullptr) return;
  std::vector<ResolvedLinear> linears;
  for (size_t i = 0; i < specs.size(); ++i) linears.push_back({&specs[i], schemes[i]});
  ModelSpec model;
  const auto tied = config.find("tie_word_embeddings");
  model.tied_embeddings = tied != config.end() && tied->is_boolean() && tied->get<bool>();
  for (const LoaderRow& row : format->loaders) {
    const absl::Status accepted = format->accepts(linears, model, row.name);
    if (accepted.ok()) continue;
    const std::string where = absl::StrCat("loader ", ToAbsl(row.name));
    if (row.name == loader) {
      findings->Problem(where, Summary(accepted));
    } else {
      findings->Note(where, "would refuse: " + Summary(accepted));
    }
  }
  const bool known = std::any_of(format->loaders.begin(), format->loaders.end(),
                                 [&](const LoaderRow& row) { return row.name == loader; });
  if (!loader.empty() && !known) {
    findings->Problem(absl::StrCat("loader ", ToAbsl(loader)),
                      absl::StrCat("does not load ", ToAbsl(format->name)));
  }
}

}  // namespace quantd
