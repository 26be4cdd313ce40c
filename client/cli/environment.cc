#include "client/cli/environment.h"

#include <cstdlib>

namespace quantd {

std::string Environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

std::string ConfigFolder() {
  const std::string config = Environment("XDG_CONFIG_HOME");
  if (!config.empty()) return config + "/quantd";
  const std::string home = Environment("HOME");
  return home.empty() ? "" : home + "/.config/quantd";
}

}  // namespace quantd
