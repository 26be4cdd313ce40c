#include "engine/gguf/tensor_names.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "engine/gguf/architectures.h"

namespace quantd {
namespace {

constexpr std::pair<NormRole, std::string_view> kNorms[] = {
    {NormRole::kAttention, "attn_norm"},  {NormRole::kMlp, "ffn_norm"},
    {NormRole::kQ, "attn_q_norm"},        {NormRole::kK, "attn_k_norm"},
    {NormRole::kMlpOut, "post_ffw_norm"}, {NormRole::kAttentionOut, "post_attention_norm"},
};

// Gate and up as one are called "up".
constexpr std::pair<LinearRole, std::string_view> kParts[] = {
    {LinearRole::kQ, "attn_q"},      {LinearRole::kK, "attn_k"},
    {LinearRole::kV, "attn_v"},      {LinearRole::kQkv, "attn_qkv"},
    {LinearRole::kO, "attn_output"}, {LinearRole::kGate, "ffn_gate"},
    {LinearRole::kUp, "ffn_up"},     {LinearRole::kGateUp, "ffn_up"},
    {LinearRole::kDown, "ffn_down"}, {LinearRole::kRouter, "ffn_gate_inp"},
};

// Falcon with two norms: the second of them is attention's.
std::string_view NormPart(const ModelSpec& model, const BlockSpec& block, NormRole role) {
  if (model.family == "falcon" && block.Has(NormRole::kMlp)) {
    return role == NormRole::kMlp ? "attn_norm" : "attn_norm_2";
  }
  for (const auto& [known, part] : kNorms) {
    if (known == role) return part;
  }
  return "";
}

// "weight" or "bias" of that norm; nothing: it is neither of its tensors.
std::optional<std::string_view> EndOf(const NormSpec& norm, std::string_view tensor) {
  if (tensor.empty()) return std::nullopt;
  if (tensor == norm.gain) return "weight";
  if (tensor == norm.bias) return "bias";
  return std::nullopt;
}

GgufName NormName(const ModelSpec& model, std::string_view part, std::string_view end) {
  GgufName name = {.name = absl::StrCat(ToAbsl(part), ".", ToAbsl(end))};
  if (end == "weight") name.added = static_cast<float>(model.gain_offset);
  return name;
}

GgufName LinearName(const ModelSpec& model, const LinearSpec& linear, std::string_view end) {
  GgufName name;
  for (const auto& [role, part] : kParts) {
    if (role == linear.role) name.name = std::string(part);
  }
  const bool pairs = FindGgufArchitecture(model.family)->pairs_rows;
  if (pairs && (linear.role == LinearRole::kQ || linear.role == LinearRole::kK)) {
    name.rows = GgufName::Rows::kPairedHeads;
    name.heads = linear.role == LinearRole::kQ ? model.heads : model.kv_heads;
  }
  if (linear.role == LinearRole::kQkv && model.qkv_layout == QkvLayout::kByKeyHead) {
    name.rows = GgufName::Rows::kQkvApart;
  }
  if (linear.expert >= 0) {
    name.name += "_exps";
    name.expert = linear.expert;
  }
  name.as_float32 = linear.role == LinearRole::kRouter;
  absl::StrAppend(&name.name, ".", ToAbsl(end));
  return name;
}

std::optional<GgufName> NameInBlock(const ModelSpec& model, const BlockSpec& block,
                                    std::string_view tensor) {
  for (size_t role = 0; role < kNormRoles; ++role) {
    const auto end = EndOf(block.norms[role], tensor);
    if (!end.has_value()) continue;
    return NormName(model, NormPart(model, block, static_cast<NormRole>(role)), *end);
  }
  const size_t dot = tensor.rfind('.');
  if (dot == std::string_view::npos) return std::nullopt;
  const std::string_view module = tensor.substr(0, dot), end = tensor.substr(dot + 1);
  if (end != "weight" && end != "bias") return std::nullopt;
  for (const LinearSpec& linear : block.linears) {
    if (linear.name == module) return LinearName(model, linear, end);
  }
  return std::nullopt;
}

}  // namespace

std::optional<GgufName> FindGgufName(const ModelSpec& model, std::string_view tensor) {
  if (FindGgufArchitecture(model.family) == nullptr) return std::nullopt;
  if (tensor == model.embedding) return GgufName{.name = "token_embd.weight"};
  if (!model.tied_embeddings && tensor == model.head_tensor) {
    return GgufName{.name = "output.weight"};
  }
  if (!model.positions.empty() && tensor == model.positions) {
    return GgufName{.name = "position_embd.weight", .as_float32 = true};
  }
  if (const auto end = EndOf(model.final_norm, tensor); end.has_value()) {
    return NormName(model, "output_norm", *end);
  }
  for (size_t index = 0; index < model.blocks.size(); ++index) {
    const BlockSpec& block = model.blocks[index];
    if (!tensor.starts_with(block.prefix)) continue;
    auto name = NameInBlock(model, block, tensor);
    if (name.has_value()) name->name = absl::StrCat("blk.", index, ".", name->name);
    return name;
  }
  return std::nullopt;
}

std::vector<int32_t> RowPlaces(const GgufName& name, const ModelSpec& model, int64_t rows) {
  std::vector<int32_t> places;
  const int64_t width = model.head_dim, shared = model.heads / model.kv_heads;
  for (int64_t row = 0; row < rows; ++row) {
    int64_t place = row;
    if (name.rows == GgufName::Rows::kInOrder) break;
    if (name.rows == GgufName::Rows::kPairedHeads) {
      const int64_t within = row % (rows / name.heads), half = rows / name.heads / 2;
      place = row - within + 2 * (within % half) + within / half;
    } else {
      const int64_t group = row / width / (shared + 2), member = row / width % (shared + 2);
      int64_t head = group * shared + member;
      if (member >= shared) {
        head = model.heads + (member - shared) * model.kv_heads + group;
      }
      place = head * width + row % width;
    }
    places.push_back(static_cast<int32_t>(place));
  }
  return places;
}

}  // namespace quantd
