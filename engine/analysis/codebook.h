// Levels that are not evenly spaced, for the weights of one group.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

namespace quantd {

// NormalFloat-4 (arXiv 2305.14314, appendix E): quantiles of a normal distribution, scaled to [-1,
// 1], with an exact 0.
extern const std::array<float, 16> kNf4Levels;

// Each value becomes the nearest of `levels` (ascending); the lower one when two are as near.
void RoundToLevels(std::span<const float> values, std::span<const float> levels, float* to);

// Up to `count` levels, ascending, with a small sum of weights[i] (values[i] - nearest level)^2;
// `weights` are at least 0, or empty: all alike. Lloyd's iteration on the sorted values from three
// starts (equal counts, equal widths, between the two), the best of them: on random groups within
// about 2 % of the optimum in the mean. Deterministic. Cost: one sort and some tens of binary
// searches per level.
std::vector<float> KMeansLevels(std::span<const float> values, std::span<const float> weights,
                                int64_t count);

}  // namespace quantd
