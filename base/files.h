// Files: reading whole or in part, and writing so that a file is either complete under its name or
// not there.
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
#include "base/random_access_file.h"

namespace quantd {

struct SealedFile {
  std::string path;
  int64_t bytes = 0;
  std::string sha256;  // lower-case hex
};

// What Seal promises. kSync: the bytes and the name survive a loss of power. kNamed: the name never
// shows an incomplete file to anybody who looks, as cp leaves it; the disk follows when the kernel
// likes.
enum class Durability { kSync, kNamed };

// A file being written under a temporary name beside its final one. Seal gives it its name; without
// Seal the temporary file is removed. Thread-compatible, but WriteAt may be called from several
// threads at once on ranges that do not overlap.
class AtomicFile {
 public:
  static absl::StatusOr<AtomicFile> Create(const std::string& path,
                                           Durability durability = Durability::kSync);
  ~AtomicFile();
  AtomicFile(AtomicFile&& other) noexcept;
  AtomicFile& operator=(AtomicFile&& other) noexcept;

  absl::Status Append(std::span<const std::byte> bytes);
  absl::Status WriteAt(int64_t offset, std::span<const std::byte> bytes);
  // With kSync, asks the kernel to begin writing these bytes to the disk, so that Seal waits for
  // less. Only a hint: promises nothing and cannot fail.
  void StartWriteback(int64_t offset, int64_t count) const;
  // Reads back what was written: fills all of `out`. Thread-safe.
  absl::Status ReadAt(int64_t offset, std::span<std::byte> out) const;
  // Rename, with kSync between an fsync of the file and one of the folder. Fills bytes; sha256 is
  // the caller's (it may know the bytes already).
  absl::StatusOr<SealedFile> Seal();

 private:
  AtomicFile(std::string path, std::string temporary, int descriptor, Durability durability);
  std::string path_;
  std::string temporary_;
  int descriptor_ = -1;
  int64_t end_ = 0;
  Durability durability_ = Durability::kSync;
};

// The whole file as text. MODEL_CORRUPT if it is larger than `max_bytes`.
absl::StatusOr<std::string> ReadFile(const std::string& path, int64_t max_bytes);
absl::StatusOr<std::string> ReadFile(const RandomAccessFile& file, int64_t max_bytes);
// SHA-256 of the whole file, lower-case hex.
absl::StatusOr<std::string> DigestOf(const RandomAccessFile& file);
// Writes through an AtomicFile; the result carries the digest.
absl::StatusOr<SealedFile> WriteFileAtomic(const std::string& path, std::string_view text);
absl::StatusOr<SealedFile> CopyFileAtomic(const std::string& from, const std::string& to,
                                          Durability durability = Durability::kSync);
absl::StatusOr<SealedFile> CopyFileAtomic(const RandomAccessFile& from, const std::string& to,
                                          Durability durability = Durability::kSync);

absl::Status MakeFolders(const std::string& path);
absl::Status RemoveTree(const std::string& path);
bool PathExists(const std::string& path);
bool IsFolder(const std::string& path);
// Names (not paths) of the entries of a folder, sorted.
absl::StatusOr<std::vector<std::string>> ListFolder(const std::string& path);
// The path with every link and ".." resolved. The file must exist.
absl::StatusOr<std::string> RealPath(const std::string& path);
// Whether `path`, resolved, is `root` or below it; both must exist.
absl::StatusOr<bool> IsBelow(const std::string& path, const std::string& root);
// Bytes free for us on the file system that holds `path`.
absl::StatusOr<int64_t> FreeBytes(const std::string& path);

// A new empty folder under TMPDIR, removed with all that is in it when this goes. For tests and
// scratch space.
class TemporaryFolder {
 public:
  static absl::StatusOr<TemporaryFolder> Create(std::string_view prefix);
  ~TemporaryFolder();
  TemporaryFolder(TemporaryFolder&& other) noexcept;
  TemporaryFolder& operator=(TemporaryFolder&& other) noexcept;
  const std::string& path() const { return path_; }

 private:
  explicit TemporaryFolder(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

}  // namespace quantd
