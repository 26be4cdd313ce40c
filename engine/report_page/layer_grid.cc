#include "engine/report_page/layer_grid.h"

#include <algorithm>
#include <array>
#include <map>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "base/error.h"

namespace quantd {
namespace {

// The order of a forward pass; others follow as they come.
constexpr std::array<std::string_view, 9> kRoles = {"q",    "k",  "v",       "qkv", "o",
                                                    "gate", "up", "gate_up", "down"};

// All places with something in them, by role in order of appearance.
class Places {
 public:
  GridCell& At(const ModulePlace& place) {
    if (!cells_.contains(place.role)) roles_.push_back(place.role);
    blocks_.emplace(place.block, 0);
    return cells_[place.role][place.block];
  }

  LayerGrid Finish() {
    LayerGrid grid;
    for (auto& [block, index] : blocks_) {
      index = grid.blocks.size();
      grid.blocks.push_back(block);
    }
    std::stable_sort(roles_.begin(), roles_.end(), [](const auto& a, const auto& b) {
      return std::find(kRoles.begin(), kRoles.end(), a) <
             std::find(kRoles.begin(), kRoles.end(), b);
    });
    for (const std::string& role : roles_) {
      std::vector<GridCell> row(grid.blocks.size());
      for (auto& [block, cell] : cells_[role]) row[blocks_[block]] = std::move(cell);
      grid.cells.push_back(std::move(row));
    }
    grid.roles = std::move(roles_);
    return grid;
  }

 private:
  std::vector<std::string> roles_;
  std::map<int64_t, size_t> blocks_;
  std::map<std::string, std::map<int64_t, GridCell>> cells_;
};

}  // namespace

std::optional<ModulePlace> PlaceOf(std::string_view module) {
  const std::vector<std::string> parts = absl::StrSplit(ToAbsl(module), '.');
  for (size_t i = 0; i + 1 < parts.size(); ++i) {
    int64_t block = 0;
    if (!absl::SimpleAtoi(parts[i], &block) || block < 0) continue;
    std::string role = parts.back();
    if (role.size() > 5 && role.ends_with("_proj")) role.resize(role.size() - 5);
    return ModulePlace{.block = block, .role = std::move(role)};
  }
  return std::nullopt;
}

LayerGrid GridOf(const Report& report) {
  Places places;
  for (const LayerReport& layer : report.layers) {
    if (const auto place = PlaceOf(layer.name)) places.At(*place).layers.push_back(&layer);
  }
  for (const Json& entry : report.resolved_recipe) {
    if (!entry.is_object() || !entry.contains("skip") || !entry.contains("name")) continue;
    if (!entry["name"].is_string()) continue;
    if (const auto place = PlaceOf(entry["name"].get<std::string>())) ++places.At(*place).skipped;
  }
  return places.Finish();
}

}  // namespace quantd
