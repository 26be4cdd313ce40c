// The tensors of a GGUF model as the bytes of a safetensors file that is nowhere: each piece is
// decoded when it is read, so that memory holds what the reader asked for and no more.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/random_access_file.h"
#include "engine/gguf_source/shown_tensor.h"
#include "engine/tensor/tensor_file.h"

namespace quantd {

// Thread-safe.
class ShownWeights {
 public:
  // `parts` are the files that `tensors` lie in. `name` is the file's, for errors.
  static absl::StatusOr<std::shared_ptr<const ShownWeights>> Create(
      std::string name, std::vector<GgufPart> parts, std::vector<ShownTensor> tensors);

  // Bytes [offset, offset + out.size()) of the safetensors file, which has them. Errors: those of
  // reading.
  absl::Status Read(int64_t offset, std::span<std::byte> out) const;
  int64_t size() const { return file_.size; }
  const std::string& name() const { return file_.name; }

 private:
  ShownWeights(LaidOutFile file, std::vector<GgufPart> parts, std::vector<ShownTensor> tensors);
  // Bytes [begin, begin + out.size()) of the tensor as it is shown.
  absl::Status ReadTensor(const ShownTensor& tensor, int64_t begin, std::span<std::byte> out) const;
  // Elements [first, first + count) as they are stored, decoded.
  absl::Status Decode(const ShownTensor& tensor, int64_t first, int64_t count,
                      std::vector<float>& to) const;

  LaidOutFile file_;
  std::vector<std::unique_ptr<RandomAccessFile>> parts_;
  std::vector<ShownTensor> tensors_;
  std::vector<size_t> by_place_;  // indices of the tensors as they lie in the file
};

// MODEL_CORRUPT where a file that is shown ends before `bytes` from `offset` on.
absl::Status CheckRange(const RandomAccessFile& file, int64_t offset, size_t bytes);

// The weights as a file.
std::unique_ptr<RandomAccessFile> OpenShownWeights(std::shared_ptr<const ShownWeights> weights);

}  // namespace quantd
