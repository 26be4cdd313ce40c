// Writes one safetensors file whose tensors are all known beforehand: the header goes first, then the bytes arrive in
// any order and from any thread, so shards come out the same for any number of threads.
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
  // `metadata` becomes __metadata__ ({"format": "pt"} is added: transformers refuses files without). The data section
  // starts at a multiple of 64 bytes.
  static absl::StatusOr<std::unique_ptr<ShardWriter>> Create(const std::string& path,
                                                             std::vector<TensorInfo> tensors);
  virtual ~ShardWriter() = default;

  // Bytes [offset, offset + bytes.size()) of tensor `index` (position in `tensors`). Thread-safe. Each byte once.
  virtual absl::Status Write(size_t index, int64_t offset, std::span<const std::byte> bytes) = 0;
  // Checks that every byte was written, makes the file durable under its name and returns its size and SHA-256. The
  // digest is computed as bytes become contiguous, so that the file is not read again where order allows.
  virtual absl::StatusOr<SealedFile> Seal() = 0;
};

}  // namespace quantd
