#include "engine/budget/allocation.h"

#include <algorithm>
#include <limits>
#include <random>

#include "gtest/gtest.h"

namespace quantd {
namespace {

// Units of random sizes whose damage falls with the bits, not always in proportion.
Sensitivity RandomSensitivity(size_t units, uint32_t seed) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<double> uniform(0.1, 1.0);
  Sensitivity sensitivity{.bits = {2, 3, 4, 8}, .units = {}};
  for (size_t i = 0; i < units; ++i) {
    Unit unit;
    unit.names = {"unit" + std::to_string(i)};
    unit.weights = 1000 + static_cast<int64_t>(random() % 4000);
    double damage = uniform(random);
    for (const int bits : sensitivity.bits) {
      unit.storage_bits.push_back(unit.weights * bits);
      unit.damage.push_back(damage);
      damage *= 0.4 * uniform(random);
    }
    sensitivity.units.push_back(unit);
  }
  return sensitivity;
}

// The least damage of all mixtures that fit.
double BestOfAll(const Sensitivity& sensitivity, int64_t most_bits, size_t unit = 0,
                 int64_t bits = 0) {
  if (bits > most_bits) return std::numeric_limits<double>::infinity();
  if (unit == sensitivity.units.size()) return 0;
  double best = std::numeric_limits<double>::infinity();
  const Unit& own = sensitivity.units[unit];
  for (size_t candidate = 0; candidate < own.damage.size(); ++candidate) {
    const double rest =
        BestOfAll(sensitivity, most_bits, unit + 1, bits + own.storage_bits[candidate]);
    best = std::min(best, own.damage[candidate] + rest);
  }
  return best;
}

int64_t BitsOf(const Sensitivity& sensitivity, double bits_per_weight) {
  int64_t weights = 0;
  for (const Unit& unit : sensitivity.units) weights += unit.weights;
  return static_cast<int64_t>(bits_per_weight * static_cast<double>(weights));
}

TEST(Allocation, FitsTheBudgetAndIsNearTheBestOfAllMixtures) {
  for (uint32_t seed = 0; seed < 40; ++seed) {
    const Sensitivity sensitivity = RandomSensitivity(7, seed);
    for (const double bits_per_weight : {2.0, 2.7, 3.5, 5.0, 8.0}) {
      const int64_t budget = BitsOf(sensitivity, bits_per_weight);
      const Allocation allocation = AllocateBits(sensitivity, budget);
      EXPECT_LE(allocation.storage_bits, budget);
      double damage = 0;
      int64_t bits = 0;
      for (size_t i = 0; i < sensitivity.units.size(); ++i) {
        damage += sensitivity.units[i].damage[allocation.candidate[i]];
        bits += sensitivity.units[i].storage_bits[allocation.candidate[i]];
      }
      EXPECT_NEAR(allocation.damage, damage, 1e-9);
      EXPECT_EQ(allocation.storage_bits, bits);
      // Within what one more step of the largest unit would have bought.
      EXPECT_LE(damage, BestOfAll(sensitivity, budget) * 1.6 + 1e-12) << seed;
    }
  }
}

TEST(Allocation, MoreBitsNeverHurt) {
  const Sensitivity sensitivity = RandomSensitivity(30, 5);
  double last = std::numeric_limits<double>::infinity();
  for (double bits_per_weight = 2; bits_per_weight <= 8; bits_per_weight += 0.25) {
    const Allocation allocation = AllocateBits(sensitivity, BitsOf(sensitivity, bits_per_weight));
    EXPECT_LE(allocation.damage, last * 1.0001);
    last = allocation.damage;
  }
}

TEST(Allocation, AStepThatOnlyPaysWithTheNextIsSeen) {
  // 3 bits give nothing over 2, 4 bits give everything: the hull goes from 2 to 4.
  Sensitivity sensitivity{.bits = {2, 3, 4}, .units = {}};
  sensitivity.units.push_back(
      {.names = {"a"}, .weights = 10, .damage = {1.0, 1.0, 0.0}, .storage_bits = {20, 30, 40}});
  sensitivity.units.push_back(
      {.names = {"b"}, .weights = 10, .damage = {1.0, 0.7, 0.6}, .storage_bits = {20, 30, 40}});
  const Allocation allocation = AllocateBits(sensitivity, 60);
  EXPECT_EQ(allocation.candidate, (std::vector<size_t>{2, 0}));
}

TEST(Allocation, ByDamageTakesTheFewestBitsThatMeetIt) {
  const Sensitivity sensitivity = RandomSensitivity(12, 9);
  const Allocation all = AllocateBits(sensitivity, std::numeric_limits<int64_t>::max());
  for (const double factor : {1.5, 3.0, 10.0}) {
    const double most = all.damage * factor;
    const Allocation allocation = AllocateDamage(sensitivity, most);
    EXPECT_LE(allocation.damage, most);
    EXPECT_LT(allocation.storage_bits, all.storage_bits);
  }
  EXPECT_EQ(AllocateDamage(sensitivity, 0).candidate, all.candidate);
}

}  // namespace
}  // namespace quantd
