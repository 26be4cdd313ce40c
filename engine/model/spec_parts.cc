#include "engine/model/spec_parts.h"

#include <algorithm>
#include <cmath>
#include <string_view>

namespace quantd {
namespace {

std::string BiasBeside(const std::string& gain) {
  constexpr size_t kSuffix = std::string_view(".weight").size();
  return gain.substr(0, gain.size() - kSuffix) + ".bias";
}

bool IsOfMlp(const LinearSpec& linear) {
  return linear.role == LinearRole::kGate || linear.role == LinearRole::kUp ||
         linear.role == LinearRole::kDown;
}

}  // namespace

LinearSpec& AddLinear(BlockSpec& block, int index, const std::string& name, LinearRole role,
                      std::array<int64_t, 2> shape, int input) {
  return block.linears.emplace_back(LinearSpec{.name = block.prefix + name,
                                               .role = role,
                                               .out_features = shape[0],
                                               .in_features = shape[1],
                                               .block = index,
                                               .input = input});
}

void RemoveMlp(BlockSpec& block) { std::erase_if(block.linears, IsOfMlp); }

void FuseGateUp(const ModelSpec& model, int index, BlockSpec& block) {
  const int64_t d = model.hidden, f = model.intermediate;
  RemoveMlp(block);
  AddLinear(block, index, "mlp.gate_up_proj", LinearRole::kGateUp, {2 * f, d}, 2);
  AddLinear(block, index, "mlp.down_proj", LinearRole::kDown, {d, f}, 3);
}

void NormBehind(BlockSpec& block) {
  block.norm(NormRole::kAttention) = {};
  block.norm(NormRole::kMlp) = {};
  block.norm(NormRole::kAttentionOut).gain = block.prefix + "post_attention_layernorm.weight";
  block.norm(NormRole::kMlpOut).gain = block.prefix + "post_feedforward_layernorm.weight";
}

void NameHead(ModelSpec& model, const std::string& name) {
  model.head = {.name = name,
                .role = LinearRole::kHead,
                .out_features = model.vocabulary,
                .in_features = model.hidden};
  model.head_tensor = model.tied_embeddings ? model.embedding : name + ".weight";
}

void UseLayerNorm(ModelSpec& model) {
  model.norm_kind = NormKind::kLayer;
  model.final_norm.bias = BiasBeside(model.final_norm.gain);
  for (BlockSpec& block : model.blocks) {
    for (NormSpec& norm : block.norms) {
      if (!norm.gain.empty()) norm.bias = BiasBeside(norm.gain);
    }
  }
}

void UseGemmaNorms(ModelSpec& model) {
  model.gain_offset = 1;
  model.embedding_scale = std::sqrt(static_cast<double>(model.hidden));
}

}  // namespace quantd
