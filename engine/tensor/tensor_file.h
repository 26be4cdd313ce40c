// A file of tensors that are all known beforehand: the header goes first, then the bytes arrive in
// any order and from any thread, so files come out the same for any number of threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/files.h"

namespace quantd {

// Rows that the file wants in another order: row r of the tensor lies at row places[r]. Empty: rows
// stay where they are.
struct RowOrder {
  int64_t row_bytes = 0;
  std::vector<int32_t> places;
};

// Where one tensor lies: bytes [begin, begin + bytes) of the file.
struct TensorPlace {
  std::string name;
  int64_t begin = 0, bytes = 0;
  RowOrder order = {};
  float added = 0;  // to each value, on the way into the file; not 0 for F32 alone
};

// A file that is known but for the bytes of its tensors.
struct LaidOutFile {
  std::string name;
  std::string header;
  std::vector<TensorPlace> places;
  int64_t size = 0;
  // Contents of the last places: they come from no tensor.
  std::vector<std::vector<std::byte>> constants;
};

class TensorFile {
 public:
  // Writes `header` at the start, and zeros where no tensor lies up to `size`, the size of the
  // file. Places are behind the header, do not overlap and end within `size`; their order is that
  // of `index` below. Errors: those of creating a file.
  static absl::StatusOr<std::unique_ptr<TensorFile>> Create(
      const std::string& path, std::string_view header, std::vector<TensorPlace> places,
      int64_t size, Durability durability = Durability::kSync);
  virtual ~TensorFile() = default;

  // Bytes [offset, offset + bytes.size()) of tensor `index`, whole rows if they change places.
  // Thread-safe. Each byte once. Errors: INTERNAL for a range outside the tensor or written before,
  // DISK_FULL, IO.
  virtual absl::Status Write(size_t index, int64_t offset, std::span<const std::byte> bytes) = 0;
  // Checks that every byte was written, gives the file its name and returns its size
  // and SHA-256. The digest is computed as bytes become contiguous, so that the file is not read
  // again where order allows. Call once, after the last Write has returned. Errors: INTERNAL for a
  // missing byte, naming tensor and position; DISK_FULL, IO.
  virtual absl::StatusOr<SealedFile> Seal() = 0;
};

}  // namespace quantd
