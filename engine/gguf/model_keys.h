// The model itself as keys of a GGUF file: architecture, sizes, rotary embedding.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "engine/gguf/key_values.h"
#include "engine/types/model_spec.h"

namespace quantd {

struct ModelDescription {
  const ModelSpec& model;
  std::string_view name;   // for people
  uint32_t file_type = 0;  // Mixture::file_type
};

// The family is one that FindGgufArchitecture knows.
void AddModel(const ModelDescription& description, KeyValues& keys);

// A tensor that stands for something in config.json.
struct ConstantTensor {
  std::string name;
  std::vector<float> values;
};
// Divisors of the rotary frequencies: rope_freqs.weight of llama3 scaling, rope_factors_long.weight
// and rope_factors_short.weight of longrope.
std::vector<ConstantTensor> RopeFactors(const RopeSpec& rope);

}  // namespace quantd
