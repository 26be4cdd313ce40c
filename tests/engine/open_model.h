// What tests open: the checkpoint of a folder.
#pragma once

#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "base/error.h"
#include "engine/tensor/checkpoint.h"
#include "engine/tensor/model_folder.h"

namespace quantd {

inline absl::StatusOr<Checkpoint> OpenCheckpoint(const std::string& folder) {
  QD_ASSIGN_OR_RETURN(auto files, OpenModelFolder(folder));
  return Checkpoint::Open(std::move(files));
}

}  // namespace quantd
