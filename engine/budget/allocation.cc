#include "engine/budget/allocation.h"

#include <algorithm>
#include <limits>

namespace quantd {
namespace {

// One purchase: a unit goes from one candidate of its hull to the next.
struct Step {
  size_t unit = 0, from = 0, to = 0;
  int64_t bits = 0;
  double gain = 0;  // damage taken away
  double rate() const { return gain / static_cast<double>(bits); }
};

// The steps of one unit along its lower convex hull, cheapest first, their rates falling.
std::vector<Step> HullSteps(const Unit& unit, size_t index) {
  std::vector<size_t> hull = {0};
  for (size_t next = 1; next < unit.damage.size(); ++next) {
    if (unit.damage[next] >= unit.damage[hull.back()]) continue;
    const auto rate = [&](size_t from, size_t to) {
      return (unit.damage[from] - unit.damage[to]) /
             static_cast<double>(unit.storage_bits[to] - unit.storage_bits[from]);
    };
    while (hull.size() > 1 && rate(hull.back(), next) >= rate(hull[hull.size() - 2], hull.back())) {
      hull.pop_back();
    }
    hull.push_back(next);
  }
  std::vector<Step> steps;
  for (size_t i = 1; i < hull.size(); ++i) {
    steps.push_back({.unit = index,
                     .from = hull[i - 1],
                     .to = hull[i],
                     .bits = unit.storage_bits[hull[i]] - unit.storage_bits[hull[i - 1]],
                     .gain = unit.damage[hull[i - 1]] - unit.damage[hull[i]]});
  }
  return steps;
}

Allocation Cheapest(const Sensitivity& sensitivity) {
  Allocation start;
  for (const Unit& unit : sensitivity.units) {
    start.candidate.push_back(0);
    start.storage_bits += unit.storage_bits[0];
    start.damage += unit.damage[0];
  }
  return start;
}

// Buys steps in the order of what they give per bit, skipping those that do not fit; a unit's later
// steps need its earlier ones.
Allocation Buy(const Sensitivity& sensitivity, int64_t most_bits, double enough_damage) {
  std::vector<Step> steps;
  for (size_t unit = 0; unit < sensitivity.units.size(); ++unit) {
    const std::vector<Step> own = HullSteps(sensitivity.units[unit], unit);
    steps.insert(steps.end(), own.begin(), own.end());
  }
  std::stable_sort(steps.begin(), steps.end(),
                   [](const Step& a, const Step& b) { return a.rate() > b.rate(); });
  Allocation bought = Cheapest(sensitivity);
  for (const Step& step : steps) {
    if (bought.damage <= enough_damage) break;
    if (bought.candidate[step.unit] != step.from) continue;
    if (bought.storage_bits + step.bits > most_bits) continue;
    bought.candidate[step.unit] = step.to;
    bought.storage_bits += step.bits;
    bought.damage -= step.gain;
  }
  return bought;
}

}  // namespace

Allocation AllocateBits(const Sensitivity& sensitivity, int64_t most_bits) {
  return Buy(sensitivity, most_bits, -1);
}

Allocation AllocateDamage(const Sensitivity& sensitivity, double most_damage) {
  return Buy(sensitivity, std::numeric_limits<int64_t>::max(), most_damage);
}

}  // namespace quantd
