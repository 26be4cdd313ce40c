// The files of the source tree.
#pragma once

#include <filesystem>
#include <string>

namespace quantd {

// By its path in the tree, "models/books-3m": absolute, for whoever reads it from another folder.
inline std::string SourceFile(const std::string& path) {
  return std::filesystem::canonical(std::filesystem::path(QUANTD_SOURCE_DIR) / path).string();
}

}  // namespace quantd
