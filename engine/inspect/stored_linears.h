// Modules as the formats know linears: with the roles that their names say.
#pragma once

#include <deque>
#include <span>
#include <vector>

#include "base/json.h"
#include "engine/inspect/stored_module.h"
#include "engine/types/model_spec.h"
#include "engine/types/recipe.h"

namespace quantd {

// Not copyable: resolved linears point into it.
class StoredLinears {
 public:
  // Modules that can be used, quantized or not; embeddings are left out. Linears of one parent
  // ("model.layers.0.self_attn") are of one block: those are fused on loading. A head is always
  // there, dense where it is tied.
  StoredLinears(std::span<const StoredModule> modules, const Json& config);
  StoredLinears(const StoredLinears&) = delete;
  StoredLinears& operator=(const StoredLinears&) = delete;

  std::vector<ResolvedLinear>& linears() { return linears_; }
  const std::vector<ResolvedLinear>& linears() const { return linears_; }
  // Only what config.json says of ties and types.
  const ModelSpec& model() const { return model_; }

 private:
  void AddTiedHead();

  std::deque<LinearSpec> specs_;
  std::vector<ResolvedLinear> linears_;
  ModelSpec model_;
};

}  // namespace quantd
