// What the client takes from its environment.
#pragma once

#include <string>

namespace quantd {

// The value of the variable; empty when it is not set.
std::string Environment(const char* name);

// ~/.config/quantd, or below XDG_CONFIG_HOME; empty when neither is known.
std::string ConfigFolder();

}  // namespace quantd
