// Writes one safetensors file whose tensors are all known beforehand: the header goes first, then
// the bytes arrive in any order and from any thread, so shards come out the same for any number of
// threads.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/files.h"
#include "engine/tensor/tensor.h"

namespace quantd {

class ShardWriter {
 public:
  // Writes the header, with {"format": "pt"} as __metadata__: transformers refuses files without.
  // The data section starts at a multiple of 64 bytes; tensors lie in the order given, unless one
  // would be misaligned: then those with larger elements come first. Errors: INTERNAL for tensors
  // that cannot be, those of creating a file.
  static absl::StatusOr<std::unique_ptr<ShardWriter>> Create(
      const std::string& path, std::vector<TensorInfo> tensors,
      Durability durability = Durability::kSync);
  virtual ~ShardWriter() = default;

  // Bytes [offset, offset + bytes.size()) of tensor `index` (position in `tensors`). Thread-safe.
  // Each byte once. Errors: INTERNAL for a range outside the tensor or written before, DISK_FULL,
  // IO.
  virtual absl::Status Write(size_t index, int64_t offset, std::span<const std::byte> bytes) = 0;
  // Checks that every byte was written, gives the file its name and returns its size
  // and SHA-256. The digest is computed as bytes become contiguous, so that the file is not read
  // again where order allows. Call once, after the last Write has returned. Errors: INTERNAL for a
  // missing byte, naming tensor and position; DISK_FULL, IO.
  virtual absl::StatusOr<SealedFile> Seal() = 0;
};

}  // namespace quantd
