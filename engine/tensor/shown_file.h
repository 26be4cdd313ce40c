// Files that are nowhere: what a model is seen as where its own files say it in another way.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/random_access_file.h"
#include "engine/tensor/tensor.h"
#include "engine/tensor/tensor_file.h"

namespace quantd {

// `text` as a file. `name` is for errors.
std::unique_ptr<RandomAccessFile> ShowText(std::string name, std::string text);

// A safetensors file whose tensors are made when they are read, piece by piece, so that memory
// holds what the reader asked for and no more. Thread-safe if `read` is.
class ShownTensors {
 public:
  // Fills `out` with bytes [begin, begin + out.size()) of tensor number `index` as it is shown.
  using ReadTensor =
      std::function<absl::Status(size_t index, int64_t begin, std::span<std::byte> out)>;

  // Errors: those of laying out the tensors.
  static absl::StatusOr<std::shared_ptr<const ShownTensors>> Create(const std::string& name,
                                                                    std::vector<TensorInfo> tensors,
                                                                    ReadTensor read);

  // Bytes [offset, offset + out.size()) of the file, which has them. Errors: those of `read`.
  absl::Status Read(int64_t offset, std::span<std::byte> out) const;
  int64_t size() const { return file_.size; }
  const std::string& name() const { return file_.name; }

 private:
  ShownTensors(LaidOutFile file, ReadTensor read);

  const LaidOutFile file_;
  const ReadTensor read_;
  std::vector<size_t> by_place_;  // indices of the tensors as they lie in the file
};

// The tensors as a file.
std::unique_ptr<RandomAccessFile> Open(std::shared_ptr<const ShownTensors> tensors);

}  // namespace quantd
