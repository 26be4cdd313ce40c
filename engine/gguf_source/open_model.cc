#include "engine/gguf_source/open_model.h"

#include <algorithm>
#include <filesystem>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/files.h"
#include "engine/gguf/gguf_parts.h"
#include "engine/gguf_source/gguf_model.h"

namespace quantd {
namespace {

bool IsGguf(std::string_view name) { return name.ends_with(".gguf"); }

// Several models, none of them in safetensors: which one is meant has to be said.
absl::Status CheckOne(const ModelFiles& files, const std::vector<std::string>& names) {
  const auto is_weights = [](const std::string& name) {
    return name.ends_with(".safetensors") || name.ends_with(".safetensors.index.json");
  };
  if (std::none_of(names.begin(), names.end(), IsGguf) ||
      std::any_of(names.begin(), names.end(), is_weights)) {
    return absl::OkStatus();
  }
  const auto first = std::find_if(names.begin(), names.end(), IsGguf);
  return MakeError(Reason::kModelNotFound, "cannot open the model",
                   Violation{.where = files.location(),
                             .got = "several GGUF models",
                             .wanted = "the path of one, such as " + files.Where(*first)});
}

}  // namespace

absl::StatusOr<std::shared_ptr<const ModelFiles>> OpenModel(const std::string& path,
                                                            const ModelFolderOptions& options) {
  if (!IsGguf(path) || IsFolder(path) || !PathExists(path)) {
    QD_ASSIGN_OR_RETURN(auto files, OpenModelFolder(path, options));
    return ShowModel(std::move(files));
  }
  const std::filesystem::path parts(path);
  const std::string folder = parts.has_parent_path() ? parts.parent_path().string() : ".";
  QD_ASSIGN_OR_RETURN(auto files, OpenModelFolder(folder, options));
  return ShowGgufModel(std::move(files), parts.filename().string());
}

absl::StatusOr<std::shared_ptr<const ModelFiles>> ShowModel(
    std::shared_ptr<const ModelFiles> files) {
  const std::string gguf = OnlyGguf(*files);
  if (!gguf.empty()) return ShowGgufModel(std::move(files), gguf);
  QD_ASSIGN_OR_RETURN(const std::vector<std::string> names, files->List());
  QD_RETURN_IF_ERROR(CheckOne(*files, names));
  return files;
}

}  // namespace quantd
