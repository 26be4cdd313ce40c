// Where the source and what was built of it lie. Compiled in are paths from the folder that the
// tests are started in, the source folder, so that a compiler cache serves every checkout.
#pragma once

#include <filesystem>
#include <string>

namespace quantd {

// By the path in the repository, "models/books-3m": absolute, for whoever works in another folder.
inline std::string SourcePath(const std::string& path) {
  return std::filesystem::absolute(path).string();
}

// By the path in the build folder, "bin/quantd-worker"; absolute.
inline std::string BuiltPath(const std::string& path) {
  return std::filesystem::absolute(std::filesystem::path(QUANTD_BINARY_DIR) / path).string();
}

}  // namespace quantd
