// Named pieces of memory as one safetensors file, and back.
#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/files.h"
#include "base/threads.h"

namespace quantd {

struct BundlePiece {
  std::string name;
  std::span<const std::byte> bytes;
};

// Writes the pieces as tensors of bytes; the result has the file's digest. Errors: DISK_FULL, IO.
absl::StatusOr<SealedFile> WriteBundle(const std::string& path,
                                       const std::vector<BundlePiece>& pieces, ThreadPool& pool);

// Where the bytes of the piece `name` go; an empty span for a piece that nobody knows.
using BundlePlace = std::function<std::span<std::byte>(std::string_view name, int64_t bytes)>;
// Reads every piece into its place, which has its size. Errors: MODEL_CORRUPT, also for a piece
// without a place.
absl::Status ReadBundle(const std::string& path, const BundlePlace& place, ThreadPool& pool);

// Size and digest of a file that is there.
absl::StatusOr<SealedFile> DigestFile(const std::string& path);

}  // namespace quantd
