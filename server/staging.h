// Where the bytes of uploads wait until a file is whole: a folder of the server's own. What a
// broken call has written is gone on with; what a lost disk takes is sent again.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <string_view>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "server/upload.h"

namespace quantd {

class Staging;

// The one writer of a content. Thread-compatible.
class StagedFile {
 public:
  // Closes it for the next writer; the bytes stay.
  ~StagedFile();
  StagedFile(const StagedFile&) = delete;
  StagedFile& operator=(const StagedFile&) = delete;

  int64_t size() const { return size_; }
  const std::string& path() const { return path_; }
  // DISK_FULL and IO_ERROR leave what was there before.
  absl::Status Append(std::string_view bytes);
  // UPLOAD_CORRUPT, and the bytes are gone, unless they are those of `content`. Reads all of them.
  absl::Status Verify(const Content& content, std::string_view where);
  absl::Status Remove();

 private:
  friend class Staging;
  StagedFile(Staging& staging, std::string path, int descriptor, int64_t size)
      : staging_(staging), path_(std::move(path)), descriptor_(descriptor), size_(size) {}

  Staging& staging_;
  const std::string path_;
  int descriptor_;
  int64_t size_;
};

// Thread-safe.
class Staging {
 public:
  explicit Staging(std::string folder) : folder_(std::move(folder)) {}

  // Bytes that lie here of the content.
  int64_t SizeOf(const Content& content) const;
  // UNAVAILABLE while another call has it.
  absl::StatusOr<std::unique_ptr<StagedFile>> Open(const Content& content);
  // What is left of a content that nothing names any more.
  absl::Status Drop(const Content& content);

 private:
  friend class StagedFile;
  std::string PathOf(const Content& content) const;
  void Close(const std::string& path);

  const std::string folder_;
  absl::Mutex mutex_;
  std::set<std::string> open_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace quantd
