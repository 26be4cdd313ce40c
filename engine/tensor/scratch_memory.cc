#include "engine/tensor/scratch_memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <utility>

#include "base/error.h"

namespace quantd {
namespace {

// A file that nobody else can open. Not every file system knows O_TMPFILE.
int OpenNameless(const std::string& folder) {
  const int descriptor = ::open(folder.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (descriptor >= 0) return descriptor;
  std::string path = folder + "/.scratch-XXXXXX";
  const int named = ::mkostemp(path.data(), O_CLOEXEC);
  if (named >= 0) ::unlink(path.c_str());
  return named;
}

}  // namespace

absl::StatusOr<ScratchMemory> ScratchMemory::Make(int64_t bytes, const std::string& folder) {
  const int descriptor = OpenNameless(folder);
  if (descriptor < 0) return ErrnoError("cannot make a scratch file", folder, errno);
  // Every block is there before it is mapped: a write to the map cannot meet a full disk.
  const int no_room = ::posix_fallocate(descriptor, 0, bytes);
  if (no_room != 0) {
    ::close(descriptor);
    return ErrnoError("no room for a scratch file", folder, no_room);
  }
  void* mapped = ::mmap(nullptr, static_cast<size_t>(bytes), PROT_READ | PROT_WRITE, MAP_SHARED,
                        descriptor, 0);
  const int problem = errno;
  ::close(descriptor);  // the map keeps the file
  if (mapped == MAP_FAILED) return ErrnoError("cannot map a scratch file", folder, problem);
  ScratchMemory memory;
  memory.data_ = static_cast<std::byte*>(mapped);
  memory.size_ = bytes;
  return memory;
}

ScratchMemory::~ScratchMemory() {
  if (data_ != nullptr) ::munmap(data_, static_cast<size_t>(size_));
}

ScratchMemory::ScratchMemory(ScratchMemory&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

ScratchMemory& ScratchMemory::operator=(ScratchMemory&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

void ScratchMemory::Release(const void* begin, int64_t bytes) const {
  const int64_t page = ::sysconf(_SC_PAGESIZE);
  const int64_t at = static_cast<const std::byte*>(begin) - data_;
  const int64_t first = (at + page - 1) / page * page, last = (at + bytes) / page * page;
  if (last > first) ::madvise(data_ + first, static_cast<size_t>(last - first), MADV_DONTNEED);
}

}  // namespace quantd
