// Mixtures: which type each weight of a model gets. Names, rules and fallbacks are those that users
// of llama-quantize know, so that a file of ours has the size that they expect.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "engine/tensor/block_type.h"
#include "engine/types/model_spec.h"

namespace quantd {

struct Mixture {
  std::string_view name;   // "Q4_K_M"
  std::string_view base;   // the block type of most weights
  uint32_t file_type = 0;  // general.file_type
};

// F16, BF16, Q8_0, …, Q2_K_S; and Q3_K, Q4_K, Q5_K for the base type throughout the blocks.
std::span<const Mixture> Mixtures();
const Mixture* FindMixture(std::string_view name);

// The type that the mixture means for a linear (or the embedding, role kEmbedding), whatever its
// shape.
const BlockType& TypeFor(const Mixture& mixture, const ModelSpec& model, const LinearSpec& linear);
// `type`, or where its blocks do not divide rows of so many weights the one that takes its place:
// Q4_0 for Q2_K and Q3_K, Q5_0 for Q4_K, Q5_1 for Q5_K, Q8_0 for Q6_K, F16 for all others.
const BlockType& FittingType(const BlockType& type, int64_t columns);

}  // namespace quantd
