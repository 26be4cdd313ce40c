#include "server/executor.h"

#include <string>
#include <utility>

#include "base/exceptions.h"
#include "base/log.h"

namespace quantd {

Executor::Executor(int threads) {
  threads_.reserve(static_cast<size_t>(threads));
  for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { Loop(); });
}

Executor::~Executor() { Stop(); }

void Executor::Run(std::function<void()> work) {
  absl::MutexLock lock(&mutex_);
  queue_.push_back(std::move(work));
}

void Executor::Stop() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  for (std::thread& thread : threads_) {
    if (thread.joinable()) thread.join();
  }
}

size_t Executor::waiting() const {
  absl::MutexLock lock(&mutex_);
  return queue_.size();
}

void Executor::Loop() {
  const auto awake = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return !queue_.empty() || (stopping_ && running_ == 0);
  };
  while (true) {
    std::function<void()> work;
    {
      absl::MutexLock lock(&mutex_);
      mutex_.Await(absl::Condition(&awake));
      if (queue_.empty()) return;
      work = std::move(queue_.front());
      queue_.pop_front();
      ++running_;
    }
    // Nobody above could catch it: one piece of work is lost, and not the server. Who must answer a
    // call catches for itself.
    const absl::Status status = CatchExceptions("work on a thread of the server", [&] {
      work();
      return absl::OkStatus();
    });
    if (!status.ok()) spdlog::error("{}", std::string(status.message()));
    work = nullptr;
    absl::MutexLock lock(&mutex_);
    --running_;
  }
}

}  // namespace quantd
