// The programs that the build made beside the tests.
#pragma once

#include <filesystem>
#include <string>

namespace quantd {

// By its path in the build folder, "bin/quantd-worker": absolute, for whoever starts it from
// another folder.
inline std::string BuiltProgram(const std::string& path) {
  return std::filesystem::absolute(std::filesystem::path(QUANTD_BINARY_DIR) / path).string();
}

}  // namespace quantd
