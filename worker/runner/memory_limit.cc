#include "worker/runner/memory_limit.h"

#include <sys/resource.h>
#include <unistd.h>

#include <new>
#include <string_view>

#include "worker/runner/exit_codes.h"

namespace quantd {
namespace {

// Begins a new line: another thread may have been in the middle of one.
constexpr std::string_view kEvent =
    "\n{\"event\":\"error\",\"reason\":\"RUNNER_MEMORY_LIMIT\",\"message\":"
    "\"an allocation failed: the memory limit was reached\",\"violations\":[]}\n";
constexpr std::string_view kLine =
    "\nquantd-worker: RUNNER_MEMORY_LIMIT: an allocation failed: the memory limit was reached\n";

// RLIMIT_DATA and not RLIMIT_AS: with 1, 2 and 8 threads on a small model, private writable memory
// was 66, 87 and 197 MiB where 77, 89 and 148 MiB were resident, but the address space 124, 209 and
// 605 MiB: reserved arenas and mapped libraries count there. Beside its working memory a runner
// takes the data of libraries and oneDNN's code buffers, and for each thread an 8 MiB stack and an
// arena's first pages.
constexpr int64_t kBaseBytes = int64_t{128} << 20;
constexpr int64_t kBytesPerThread = int64_t{16} << 20;

int exit_descriptor = -1;

void OnNoMemory() {
  const std::string_view text = exit_descriptor >= 0 ? kEvent : kLine;
  const int descriptor = exit_descriptor >= 0 ? exit_descriptor : STDERR_FILENO;
  [[maybe_unused]] const ssize_t written = write(descriptor, text.data(), text.size());
  _exit(kExitNoMemory);
}

}  // namespace

int64_t DataLimitFor(int64_t memory_bytes, int threads) {
  return memory_bytes + kBaseBytes + kBytesPerThread * threads;
}

bool LimitData(int64_t data_bytes) {
#if defined(QUANTD_SANITIZED)
  // Shadow memory counts as data: terabytes of it, never touched.
  data_bytes = -1;
#endif
  if (data_bytes < 0) return true;
  const rlimit limit = {.rlim_cur = static_cast<rlim_t>(data_bytes),
                        .rlim_max = static_cast<rlim_t>(data_bytes)};
  return setrlimit(RLIMIT_DATA, &limit) == 0;
}

void ExitWhenOutOfMemory(int descriptor) {
  exit_descriptor = descriptor;
  std::set_new_handler(&OnNoMemory);
}

}  // namespace quantd
