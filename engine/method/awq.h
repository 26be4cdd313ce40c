// AWQ: input channels are rescaled before rounding so that those which matter lose least (arXiv
// 2306.00978). The scales are folded into what makes the inputs; the weights are rounded after.
#pragma once

#include <array>

#include "engine/method/registry.h"

namespace quantd {

extern const Method kAwq;

// Options of the search for scales (Method::fold); for compositions.
inline constexpr std::array<OptionRow, 4> kAwqSearchRows = {
    {{"grid", "int", "10", "1..100",
      "steps of the exponent alpha in s = mean|x|^alpha / w_mean^beta, 0 to 1"},
     {"duo", "bool", "true", "true, false",
      "beta = 0, 1/4, .., 1: looks at the weights too; false: 0 alone"},
     {"loss", "enum", "diagonal", "diagonal, blocks, gram",
      "by what alpha is chosen: the squared error of the weights weighted by mean x^2, or through "
      "X^T X in blocks of a group, or through all of X^T X"},
     {"search", "enum", "auto", "auto, range, rule",
      "how candidates are rounded in the search: by the range of a group, or by scale_rule; auto: "
      "by scale_rule at 2 and 3 bits, where the two differ most, but for blocks"}}};

// What the search for scales (Method::fold) reads of the calibration data; for compositions.
StatisticsNeeds AwqFoldNeeds(const Scheme& scheme);

}  // namespace quantd
