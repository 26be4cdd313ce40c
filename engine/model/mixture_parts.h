// Mixtures of experts for the parsers of the families: their numbers in config.json, their linears.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string_view>
#include <vector>

#include "engine/model/config_reader.h"
#include "engine/types/model_spec.h"

namespace quantd {

// What the tensors of a mixture are called, behind the block's prefix.
struct MixtureNames {
  const char* router = "mlp.gate";
  const char* experts = "mlp.experts";
  const char* gate = "gate_proj";
  const char* up = "up_proj";
  const char* down = "down_proj";
};

// Experts, under the first of `experts_keys` that is there, and how many of them a token runs
// through; what a config that leaves them out means.
MixtureSpec ReadMixture(ConfigReader& reader, std::initializer_list<std::string_view> experts_keys,
                        int64_t experts, int64_t chosen);

// The rest of a mixture whose experts stand in groups and are scored by a sigmoid (DeepSeek-V3,
// arXiv 2412.19437): n_group, topk_group, norm_topk_prob, routed_scaling_factor.
void ReadGroups(ConfigReader& reader, MixtureSpec& mixture);

// By block, whether it keeps one MLP: those named in mlp_only_layers, and those between steps.
std::vector<bool> DenseBlocks(ConfigReader& reader, size_t blocks);

// A router and experts of `width` in the place of the block's MLP. Inputs: 2 is what the router
// reads; each expert has two of its own, for it sees some tokens only.
void UseMixture(BlockSpec& block, int index, int64_t hidden, int64_t width,
                const MixtureSpec& mixture, const MixtureNames& names);

// An MLP called `name` that sees every token, in a block that has a mixture.
void AddSharedExpert(BlockSpec& block, int index, int64_t hidden, int64_t width, const char* name);

// Experts beside shared ones in all blocks but the first ones: DeepSeek's layout (arXiv
// 2401.06066).
struct LateMixtures {
  int64_t first = 0;   // block that has one
  int64_t shared = 1;  // experts in the one MLP that sees every token
  int64_t width = 0;   // of an expert
};

// first_k_dense_replace, n_shared_experts and moe_intermediate_size; `otherwise` is what a config
// that leaves them out means.
LateMixtures ReadLateMixtures(ConfigReader& reader, const LateMixtures& otherwise);

// Puts them into the model. Experts that are scored by a sigmoid have a correction.
void UseLateMixtures(ModelSpec& model, const LateMixtures& layout, MixtureSpec mixture);

}  // namespace quantd
