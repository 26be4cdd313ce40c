// Loops over independent pieces on several threads. The pieces are the caller's, so a result that
// is written per piece (and summed in the order of pieces) is the same for any number of threads.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "absl/status/status.h"

namespace quantd {

// A fixed number of threads that wait for loops. Thread-compatible: one loop at a time.
class ThreadPool {
 public:
  // `threads` >= 1; the calling thread counts as one and works too.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const { return threads_; }

  // Calls body(piece) once for each piece in [0, pieces), in any order, and returns when all are
  // done. After the first error no new piece is started; the error of the lowest piece that failed
  // is returned.
  absl::Status ForEach(int64_t pieces, const std::function<absl::Status(int64_t piece)>& body);

 private:
  struct Shared;
  int threads_;
  std::unique_ptr<Shared> shared_;
};

// The number of CPUs that this process may use (affinity and cgroup-aware), at least 1.
int AvailableCpus();

}  // namespace quantd
