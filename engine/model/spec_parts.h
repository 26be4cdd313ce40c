// Parts of a ModelSpec that parsers put together.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "engine/types/model_spec.h"

namespace quantd {

// Appends the linear `prefix + name` of shape [N, K] to the block.
LinearSpec& AddLinear(BlockSpec& block, int index, const std::string& name, LinearRole role,
                      std::array<int64_t, 2> shape, int input);
// Removes the linears of gate, up and down.
void RemoveMlp(BlockSpec& block);
// Puts gate and up together: one linear, mlp.gate_up_proj.
void FuseGateUp(const ModelSpec& model, int index, BlockSpec& block);
// Norms behind attention and MLP in the place of those before.
void NormBehind(BlockSpec& block);
// The output projection of that module name, or the embedding where it is tied to it.
void NameHead(ModelSpec& model, const std::string& name);
// Every norm is a LayerNorm, its bias beside its gain.
void UseLayerNorm(ModelSpec& model);
// Gemma's: RMSNorm by 1 + gain, embeddings scaled by sqrt(hidden).
void UseGemmaNorms(ModelSpec& model);

}  // namespace quantd
