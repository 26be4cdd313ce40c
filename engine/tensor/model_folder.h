// A model in a folder of this machine.
#pragma once

#include <memory>
#include <span>
#include <string>

#include "absl/status/statusor.h"
#include "engine/tensor/model_files.h"

namespace quantd {

struct ModelFolderOptions {
  // The folders that files must lie in once every link is followed, resolved themselves. Caches of
  // hubs are folders of links to blobs beside them, so the model's own folder is not the border.
  // Empty: links may lead anywhere, which is right for a person's own model.
  std::span<const std::string> roots = {};
};

// The folder is opened once; its files are opened below that descriptor. With roots each file is
// looked at where it really lies, after it was opened and before it is read, so that a link which
// is changed after a check leads nowhere; and every file of the folder is looked at here already.
// Errors: MODEL_NOT_FOUND; with roots MODEL_OUTSIDE_ROOTS for a folder or a file that lies outside
// of them, or is not there: which of the two is nobody's business.
absl::StatusOr<std::shared_ptr<const ModelFiles>> OpenModelFolder(
    const std::string& path, const ModelFolderOptions& options = {});

}  // namespace quantd
