// Groups of weights that quantizers get wrong.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <string>
#include <vector>

namespace quantd {

struct WeightGroup {
  std::string name;
  std::vector<float> weights;
};

inline std::vector<float> Gaussian(int64_t count, uint64_t seed, float deviation = 0.02f) {
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal(0, deviation);
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) value = normal(random);
  return values;
}

template <typename Make>
WeightGroup GroupOf(const std::string& name, int64_t count, Make make) {
  WeightGroup group = {name, std::vector<float>(static_cast<size_t>(count))};
  for (int64_t i = 0; i < count; ++i) group.weights[static_cast<size_t>(i)] = make(i);
  return group;
}

// All kinds, each of `count` values.
inline std::vector<WeightGroup> AdversarialGroups(int64_t count) {
  const std::vector<float> gauss = Gaussian(count, static_cast<uint64_t>(count));
  const auto at = [&](int64_t i) { return gauss[static_cast<size_t>(i)]; };
  const float smallest = std::numeric_limits<float>::denorm_min();
  const float largest = std::numeric_limits<float>::max();
  return {
      {"gaussian", gauss},
      GroupOf("all negative", count, [&](int64_t i) { return -std::fabs(at(i)) - 0.001f; }),
      GroupOf("all positive", count, [&](int64_t i) { return std::fabs(at(i)) + 0.5f; }),
      GroupOf("zeros", count, [](int64_t) { return 0.0f; }),
      GroupOf("negative zeros", count, [](int64_t i) { return i % 2 == 0 ? -0.0f : 0.0f; }),
      GroupOf("constant", count, [](int64_t) { return 0.3f; }),
      GroupOf("negative constant", count, [](int64_t) { return -0.3f; }),
      GroupOf("one outlier", count, [&](int64_t i) { return i == count / 2 ? 40.0f : at(i); }),
      GroupOf("one alone", count, [&](int64_t i) { return i == count - 1 ? -2.5f : 0.0f; }),
      // With absmax 7.5 the int4 scale is exactly 1 and every value lies between two codes.
      GroupOf("ties", count, [](int64_t i) { return static_cast<float>(i % 16) - 7.5f; }),
      GroupOf("denormal", count,
              [&](int64_t i) { return smallest * static_cast<float>(i % 200 - 100); }),
      GroupOf("huge", count,
              [&](int64_t i) { return i % 3 == 0   ? largest
                                      : i % 3 == 1 ? -largest
                                                   : 1e30f; }),
      GroupOf("all scales", count,
              [&](int64_t i) {
                return std::ldexp(i % 2 == 0 ? 1.0f : -1.0f, static_cast<int>(i % 240) - 120);
              }),
  };
}

}  // namespace quantd
