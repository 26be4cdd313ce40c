// Method auto: bits per linear under a budget. Before a run, engine/auto turns it into an ordinary
// recipe; as a method it only checks what was asked, as if every linear had the budget's width.
#pragma once

#include "engine/method/registry.h"

namespace quantd {

extern const Method kAuto;

// Its option that names the method which quantizes, and which the other options are handed on to.
inline constexpr char kAutoBase[] = "base";

// Of the options of a scheme of method auto, those that are its base's.
Options BaseOptions(const Options& options);

}  // namespace quantd
