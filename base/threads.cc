#include "base/threads.h"

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <fstream>
#include <limits>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace quantd {

struct ThreadPool::Shared {
  std::mutex mutex;
  std::condition_variable start;
  std::condition_variable done;
  uint64_t generation = 0;
  int running = 0;
  bool stop = false;

  const std::function<absl::Status(int64_t)>* body = nullptr;
  int64_t pieces = 0;
  std::atomic<int64_t> next{0};
  std::atomic<bool> failed{false};
  int64_t failed_piece = std::numeric_limits<int64_t>::max();
  absl::Status error;

  std::vector<std::thread> workers;

  void Work() {
    while (!failed.load(std::memory_order_relaxed)) {
      const int64_t piece = next.fetch_add(1);
      if (piece >= pieces) return;
      absl::Status status = (*body)(piece);
      if (status.ok()) continue;
      const std::lock_guard lock(mutex);
      failed = true;
      if (piece < failed_piece) {
        failed_piece = piece;
        error = std::move(status);
      }
    }
  }

  void Loop() {
    uint64_t seen = 0;
    std::unique_lock lock(mutex);
    while (true) {
      start.wait(lock, [&] { return stop || generation != seen; });
      if (stop) return;
      seen = generation;
      lock.unlock();
      Work();
      lock.lock();
      if (--running == 0) done.notify_one();
    }
  }
};

ThreadPool::ThreadPool(int threads)
    : threads_(std::max(1, threads)), shared_(std::make_unique<Shared>()) {
  for (int i = 1; i < threads_; ++i) {
    shared_->workers.emplace_back([shared = shared_.get()] { shared->Loop(); });
  }
}

ThreadPool::~ThreadPool() {
  {
    const std::lock_guard lock(shared_->mutex);
    shared_->stop = true;
  }
  shared_->start.notify_all();
  for (std::thread& worker : shared_->workers) worker.join();
}

absl::Status ThreadPool::ForEach(int64_t pieces,
                                 const std::function<absl::Status(int64_t piece)>& body) {
  Shared& shared = *shared_;
  {
    const std::lock_guard lock(shared.mutex);
    shared.body = &body;
    shared.pieces = pieces;
    shared.next = 0;
    shared.failed = false;
    shared.failed_piece = std::numeric_limits<int64_t>::max();
    shared.error = absl::OkStatus();
    shared.running = static_cast<int>(shared.workers.size());
    ++shared.generation;
  }
  shared.start.notify_all();
  shared.Work();
  std::unique_lock lock(shared.mutex);
  shared.done.wait(lock, [&] { return shared.running == 0; });
  return std::exchange(shared.error, absl::OkStatus());
}

int AvailableCpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  int cpus = 1;
  if (sched_getaffinity(0, sizeof(set), &set) == 0) cpus = std::max(1, CPU_COUNT(&set));
  // cgroup v2: "<quota> <period>" in microseconds, or "max <period>".
  std::ifstream limit("/sys/fs/cgroup/cpu.max");
  std::string quota;
  double period = 0;
  if (limit >> quota >> period && quota != "max" && period > 0) {
    cpus = std::min(cpus, std::max(1, static_cast<int>(std::stod(quota) / period)));
  }
  return cpus;
}

}  // namespace quantd
