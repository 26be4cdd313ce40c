// A file that is read at any offset, wherever it lies: on this machine's disk, in a blob store.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace quantd {

// Thread-safe. Whoever holds one reads the same file to the end, whatever becomes of its name.
// Reading, not mapping: a file that is cut short while we hold it gives an error and not SIGBUS,
// and its pages do not count as our memory.
class RandomAccessFile {
 public:
  // A file of this machine; links are followed. MODEL_CORRUPT if it is not a regular file.
  static absl::StatusOr<std::unique_ptr<RandomAccessFile>> Open(const std::string& path);
  // The same from a descriptor that is open for reading. Takes it over, also when it refuses.
  static absl::StatusOr<std::unique_ptr<RandomAccessFile>> FromDescriptor(int descriptor,
                                                                          std::string name);
  virtual ~RandomAccessFile() = default;

  // Fills all of `out`. MODEL_CORRUPT if the file ends before.
  virtual absl::Status Read(int64_t offset, std::span<std::byte> out) const = 0;
  // Bytes when it was opened.
  virtual int64_t size() const = 0;
  // What errors call it: a path, where there is one.
  virtual const std::string& name() const = 0;
};

}  // namespace quantd
