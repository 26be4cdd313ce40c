#include "base/file_faults.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <optional>

#include "absl/strings/str_cat.h"

namespace quantd {
namespace {

// Linux moves at most this many bytes a call (write(2)).
constexpr size_t kMaxTransfer = 0x7ffff000;

std::atomic<FileFaults*> g_faults{nullptr};

}  // namespace

FileFaults::FileFaults(FileFaultOptions options) : options_(std::move(options)) {
  g_faults.store(this);
}

FileFaults::~FileFaults() { g_faults.store(nullptr); }

std::vector<std::string> FileFaults::calls() const {
  absl::MutexLock lock(&mutex_);
  return calls_;
}

// Notes one call and finds what shall go wrong with it.
class FaultyCall {
 public:
  FaultyCall(FileCall call, std::string text) {
    FileFaults* const faults = g_faults.load(std::memory_order_acquire);
    if (faults == nullptr) return;
    absl::MutexLock lock(&faults->mutex_);
    faults->calls_.push_back(std::move(text));
    const int nth = ++faults->counts_[static_cast<size_t>(call)];
    const FileFaultOptions& options = faults->options_;
    if (options.dead_from > 0 && static_cast<int>(faults->calls_.size()) >= options.dead_from) {
      fault_ = FileFault{.call = call, .nth = nth, .error_number = EIO};
      return;
    }
    for (const FileFault& fault : options.faults) {
      if (fault.call == call && fault.nth == nth) fault_ = fault;
    }
  }

  // Whether the call fails: errno is set then.
  bool Fails() const {
    if (!fault_.has_value() || fault_->error_number == 0) return false;
    errno = fault_->error_number;
    return true;
  }
  size_t AtMost(size_t bytes) const {
    return fault_.has_value() ? std::min(bytes, fault_->bytes) : bytes;
  }

 private:
  std::optional<FileFault> fault_;
};

namespace {

// The text is only made for a test that looks.
std::string Text(const char* what, const std::string& path) {
  if (g_faults.load(std::memory_order_acquire) == nullptr) return {};
  return absl::StrCat(what, " ", path);
}

}  // namespace

int64_t FileWrite(int descriptor, const std::string& path, std::span<const std::byte> bytes,
                  int64_t offset) {
  const FaultyCall call(FileCall::kWrite, Text("write", path));
  if (call.Fails()) return -1;
  return ::pwrite(descriptor, bytes.data(), call.AtMost(std::min(bytes.size(), kMaxTransfer)),
                  offset);
}

int FileSync(int descriptor, const std::string& path) {
  const FaultyCall call(FileCall::kSync, Text("sync", path));
  return call.Fails() ? -1 : ::fsync(descriptor);
}

int FolderSync(int descriptor, const std::string& path) {
  const FaultyCall call(FileCall::kSyncFolder, Text("sync-folder", path));
  return call.Fails() ? -1 : ::fsync(descriptor);
}

int FileRename(const std::string& from, const std::string& to) {
  const FaultyCall call(FileCall::kRename, Text("rename", absl::StrCat(from, " ", to)));
  return call.Fails() ? -1 : ::rename(from.c_str(), to.c_str());
}

int FileRemove(const std::string& path) {
  const FaultyCall call(FileCall::kRemove, Text("remove", path));
  return call.Fails() ? -1 : ::unlink(path.c_str());
}

}  // namespace quantd
