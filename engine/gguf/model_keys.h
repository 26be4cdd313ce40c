// The model itself as keys of a GGUF file: architecture, sizes, rotary embedding.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "engine/gguf/key_values.h"
#include "engine/model/model_spec.h"

namespace quantd {

struct ModelDescription {
  const ModelSpec& model;
  std::string_view name;   // for people
  uint32_t file_type = 0;  // Mixture::file_type
};

// The family is one that FindGgufArchitecture knows.
void AddModel(const ModelDescription& description, KeyValues& keys);

// MODEL_UNSUPPORTED for what the architecture has no keys for.
absl::Status CheckModel(const ModelSpec& model);
// What readers of the file will not do as the original does.
std::vector<std::string> ModelWarnings(const ModelSpec& model);

// The tensor rope_freqs.weight, by which readers divide the frequencies; empty without llama3
// scaling.
std::vector<float> RopeFactors(const RopeSpec& rope);

}  // namespace quantd
