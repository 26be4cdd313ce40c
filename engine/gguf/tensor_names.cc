#include "engine/gguf/tensor_names.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error.h"

namespace quantd {
namespace {

constexpr GgufArchitecture kArchitectures[] = {
    {"llama", "llama", true},
    {"mistral", "llama", true},
    {"qwen2", "qwen2", false},
    {"qwen3", "qwen3", false},
};

constexpr std::pair<NormRole, std::string_view> kNorms[] = {
    {NormRole::kAttention, "attn_norm"},
    {NormRole::kMlp, "ffn_norm"},
    {NormRole::kQ, "attn_q_norm"},
    {NormRole::kK, "attn_k_norm"},
};

std::string_view PartOf(LinearRole role) {
  switch (role) {
    case LinearRole::kQ:
      return "attn_q";
    case LinearRole::kK:
      return "attn_k";
    case LinearRole::kV:
      return "attn_v";
    case LinearRole::kO:
      return "attn_output";
    case LinearRole::kGate:
      return "ffn_gate";
    case LinearRole::kUp:
      return "ffn_up";
    case LinearRole::kDown:
      return "ffn_down";
    default:
      return "";
  }
}

}  // namespace

const GgufArchitecture* FindGgufArchitecture(std::string_view family) {
  for (const GgufArchitecture& architecture : kArchitectures) {
    if (architecture.family == family) return &architecture;
  }
  return nullptr;
}

std::map<std::string, GgufName, std::less<>> GgufNames(const ModelSpec& model) {
  const GgufArchitecture* architecture = FindGgufArchitecture(model.family);
  const bool pairs = architecture != nullptr && architecture->pairs_rows;
  std::map<std::string, GgufName, std::less<>> names;
  names[model.embedding] = {.name = "token_embd.weight"};
  names[model.final_norm.gain] = {.name = "output_norm.weight"};
  if (!model.tied_embeddings) names[model.head_tensor] = {.name = "output.weight"};
  for (size_t index = 0; index < model.blocks.size(); ++index) {
    const BlockSpec& block = model.blocks[index];
    const std::string prefix = absl::StrCat("blk.", index, ".");
    for (const auto& [role, part] : kNorms) {
      if (!block.Has(role)) continue;
      names[block.norm(role).gain] = {.name = absl::StrCat(prefix, ToAbsl(part), ".weight")};
    }
    for (const LinearSpec& linear : block.linears) {
      int64_t heads = 0;
      if (pairs && linear.role == LinearRole::kQ) heads = model.heads;
      if (pairs && linear.role == LinearRole::kK) heads = model.kv_heads;
      for (const std::string_view end : {".weight", ".bias"}) {
        names[linear.name + std::string(end)] = {
            .name = absl::StrCat(prefix, ToAbsl(PartOf(linear.role)), ToAbsl(end)),
            .paired_heads = heads};
      }
    }
  }
  return names;
}

}  // namespace quantd
