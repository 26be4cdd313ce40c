#include "engine/types/model_title.h"

#include <filesystem>

namespace quantd {

std::string ModelTitle(std::string_view location) {
  namespace fs = std::filesystem;
  const fs::path folder = (fs::path(location).lexically_normal() / "").parent_path();
  const std::string repository = folder.parent_path().parent_path().filename().string();
  const size_t name = repository.rfind("--");
  const bool snapshot =
      folder.parent_path().filename() == "snapshots" && repository.starts_with("models--");
  if (snapshot) return repository.substr(name + 2);
  return (folder.extension() == ".gguf" ? folder.stem() : folder.filename()).string();
}

}  // namespace quantd
