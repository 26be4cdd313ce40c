// AWQ: input channels are rescaled before rounding so that those which matter lose least (arXiv
// 2306.00978). The scales are folded into what makes the inputs; the weights are rounded after.
#pragma once

#include "engine/method/registry.h"

namespace quantd {

extern const Method kAwq;

// What the search for scales (Method::fold) reads of the calibration data; for compositions.
StatisticsNeeds AwqFoldNeeds(const Scheme& scheme);

}  // namespace quantd
