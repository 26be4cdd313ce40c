// Names that survive a loss of power: a rename or a new folder is on the disk once the folder that
// holds the name is synced, and not before.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace quantd {

// The folder that holds `path`; "." for a bare name.
std::string ParentOf(const std::string& path);

// fsync of a folder: the names in it are on the disk.
absl::Status SyncFolder(const std::string& path);

// As MakeFolders, and the new names are on the disk.
absl::Status MakeFoldersDurable(const std::string& path);

// Moves a file within one file system: its bytes are on the disk before its new name is, and both
// are when this returns. What was at `to` is replaced. False: the two are on different file
// systems, and nothing was done.
absl::StatusOr<bool> MoveFileDurable(const std::string& from, const std::string& to);

}  // namespace quantd
