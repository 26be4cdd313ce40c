// The linears of a model by block and by module type: what the plots by depth are made of.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/types/report.h"

namespace quantd {

struct ModulePlace {
  int64_t block = 0;
  std::string role;  // "q", "down": the last part of the name without _proj
};

// "model.layers.3.mlp.down_proj" is {3, "down"}. Nothing for a module outside the blocks: lm_head.
std::optional<ModulePlace> PlaceOf(std::string_view module);

struct GridCell {
  std::vector<const LayerReport*> layers;  // several: experts
  int64_t skipped = 0;                     // linears of this place that stay as they were
};

struct LayerGrid {
  std::vector<int64_t> blocks;               // ascending
  std::vector<std::string> roles;            // in the order of a forward pass
  std::vector<std::vector<GridCell>> cells;  // [role][block]
};

// Points into `report`.
LayerGrid GridOf(const Report& report);

}  // namespace quantd
