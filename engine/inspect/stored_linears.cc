#include "engine/inspect/stored_linears.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <string>
#include <utility>

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

// The part of the model in which linears may be fused: "model.layers.3.self_attn",
// "model.layers.3.mlp", with all its experts.
std::string HomeOf(const std::string& name) {
  const size_t experts = name.find(".experts.");
  return name.substr(0, experts != std::string::npos ? experts : name.rfind('.'));
}

// "model.layers.3.mlp.experts.7.up_proj" -> 7; -1: of no expert.
int ExpertOf(const std::string& name) {
  constexpr std::string_view kMark = ".experts.";
  const size_t at = name.find(kMark);
  int expert = -1;
  if (at == std::string::npos) return expert;
  std::from_chars(name.data() + at + kMark.size(), name.data() + name.size(), expert);
  return expert;
}

bool IsEmbedding(const std::string& name) {
  return name.find("embed_tokens") != std::string::npos ||
         name.find("embed_positions") != std::string::npos || name.ends_with("embed_in") ||
         name.ends_with("wte") || name.ends_with("wpe") || name.ends_with("word_embeddings");
}

}  // namespace

// A tied head has no tensor, but engines make the module, and formats have to say that it is dense.
void StoredLinears::AddTiedHead() {
  LinearSpec& head = specs_.emplace_back();
  head.name = "lm_head";
  head.role = LinearRole::kHead;
  linears_.emplace_back().linear = &head;
}

StoredLinears::StoredLinears(std::span<const StoredModule> modules, const Json& config) {
  std::map<std::string, int> homes;
  for (const StoredModule& module : modules) {
    if (!module.usable || IsEmbedding(module.name)) continue;
    LinearSpec& linear = specs_.emplace_back();
    linear.name = module.name;
    linear.role = RoleOf(module.name);
    linear.expert = ExpertOf(module.name);
    linear.out_features = module.out_features;
    linear.in_features = module.in_features;
    linear.has_bias = module.Part("bias") != nullptr;
    linear.block = homes.emplace(HomeOf(module.name), static_cast<int>(homes.size())).first->second;
    ResolvedLinear& resolved = linears_.emplace_back();
    resolved.linear = &linear;
    if (module.layout != Layout::kDense) resolved.scheme = module.scheme;
  }
  const bool has_head = std::any_of(linears_.begin(), linears_.end(), [](const auto& resolved) {
    return resolved.linear->role == LinearRole::kHead;
  });
  if (!has_head) AddTiedHead();
  const auto tied = config.find("tie_word_embeddings");
  model_.tied_embeddings = tied != config.end() && tied->is_boolean() && tied->get<bool>();
  for (const char* key : {"torch_dtype", "dtype"}) {
    const auto found = config.find(key);
    if (found == config.end() || !found->is_string()) continue;
    for (const DType dtype : {DType::kBF16, DType::kF16, DType::kF32}) {
      if (*found == std::string(TorchNameOf(dtype))) model_.dtype = dtype;
    }
  }
}

}  // namespace quantd
