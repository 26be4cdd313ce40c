// Memory that need not fit: a mapped file without a name, which the kernel keeps in memory as far
// as there is room and writes to the disk beyond.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/statusor.h"

namespace quantd {

// Unlike a file of somebody else (docs/adr/0001-read-not-map.md) this one cannot be cut short: it
// has no name, and its space is taken before anything is written. It is gone with the process,
// however that ends, and does not count as the process's data (RLIMIT_DATA).
class ScratchMemory {
 public:
  ScratchMemory() = default;
  // `bytes` zeros in a file in `folder`. DISK_FULL, IO.
  static absl::StatusOr<ScratchMemory> Make(int64_t bytes, const std::string& folder);
  ~ScratchMemory();
  ScratchMemory(ScratchMemory&& other) noexcept;
  ScratchMemory& operator=(ScratchMemory&& other) noexcept;

  std::byte* data() const { return data_; }
  int64_t size() const { return size_; }
  // Takes the pages that lie wholly in these bytes out of the process's resident memory. What is in
  // them stays; whoever reads them next waits for it. At any time, from any thread.
  void Release(const void* begin, int64_t bytes) const;

 private:
  std::byte* data_ = nullptr;
  int64_t size_ = 0;
};

}  // namespace quantd
