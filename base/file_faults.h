// The system calls by which files change, in one place, so that a test can let any of them fail and
// see in which order they come. Without a FileFaults alive they are the plain calls.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace quantd {

enum class FileCall { kWrite, kSync, kSyncFolder, kRename, kRemove };

// The `nth` call of its kind (1: the first) goes wrong.
struct FileFault {
  FileCall call = FileCall::kWrite;
  int nth = 1;
  // errno of the call, which does nothing then. 0, for a write: no error, but only `bytes` of it
  // are written.
  int error_number = 0;
  size_t bytes = 1;
};

struct FileFaultOptions {
  std::vector<FileFault> faults = {};
  // From this call on, of any kind, counted from 1, nothing is done and everything fails: what is
  // on the disk then is what a process leaves that is killed there. 0: never.
  int dead_from = 0;
};

// For tests: while it lives, the calls of the whole process go through it. One at a time.
// Thread-safe.
class FileFaults {
 public:
  explicit FileFaults(FileFaultOptions options = {});
  ~FileFaults();
  FileFaults(const FileFaults&) = delete;
  FileFaults& operator=(const FileFaults&) = delete;

  // Every call so far: "write PATH", "sync PATH", "sync-folder PATH", "rename FROM TO",
  // "remove PATH".
  std::vector<std::string> calls() const;

 private:
  friend class FaultyCall;
  const FileFaultOptions options_;
  mutable absl::Mutex mutex_;
  std::vector<std::string> calls_ ABSL_GUARDED_BY(mutex_);
  int counts_[5] ABSL_GUARDED_BY(mutex_) = {};
};

// As pwrite, fsync, rename and unlink: -1 with errno when they fail. `path` is for the record.
int64_t FileWrite(int descriptor, const std::string& path, std::span<const std::byte> bytes,
                  int64_t offset);
int FileSync(int descriptor, const std::string& path);
int FolderSync(int descriptor, const std::string& path);
int FileRename(const std::string& from, const std::string& to);
int FileRemove(const std::string& path);

}  // namespace quantd
