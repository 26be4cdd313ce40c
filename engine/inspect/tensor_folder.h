// The safetensors files of a folder, read so that what is wrong with them is told and not an end of
// the work: for looking at models that may be damaged. To compute with a model, open a Checkpoint.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/random_access_file.h"
#include "engine/inspect/finding.h"
#include "engine/tensor/model_files.h"
#include "engine/tensor/tensor.h"

namespace quantd {

struct FolderTensor {
  TensorInfo info;
  size_t file = 0;     // position in files()
  int64_t offset = 0;  // in that file
};

// Thread-safe once open.
class TensorFolder {
 public:
  struct File {
    std::string name;
    int64_t bytes = 0;
  };

  // Every shard that the index names, or, without an index, every .safetensors file. Problems:
  // shards that are missing, cut short or not safetensors; tensors in two shards; index and shards
  // that disagree; files without format metadata. Errors: MODEL_NOT_FOUND without any such file.
  static absl::StatusOr<TensorFolder> Open(const ModelFiles& files, Findings* findings);

  const std::map<std::string, FolderTensor, std::less<>>& tensors() const { return tensors_; }
  const std::vector<File>& files() const { return files_; }
  bool has_index() const { return has_index_; }
  // Files that could not be read: what they hold is not known.
  int64_t unreadable_files() const { return unreadable_; }

  // nullptr if there is none.
  const FolderTensor* Find(std::string_view name) const;
  // Fills `out` from byte `offset` of the tensor. Errors: INTERNAL for a range outside of it, those
  // of reading.
  absl::Status Read(const FolderTensor& tensor, int64_t offset, std::span<std::byte> out) const;
  // The whole tensor.
  absl::StatusOr<AlignedBuffer<std::byte>> ReadAll(const FolderTensor& tensor) const;

 private:
  void AddFile(const ModelFiles& files, const std::string& name, Findings* findings);
  void CheckIndex(const std::map<std::string, std::string, std::less<>>& index,
                  Findings* findings) const;

  std::map<std::string, FolderTensor, std::less<>> tensors_;
  std::vector<File> files_;
  std::vector<std::unique_ptr<RandomAccessFile>> open_;
  bool has_index_ = false;
  int64_t unreadable_ = 0;
};

}  // namespace quantd
