// Fetches files in the background, one after the other, while the job that makes them still runs.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "client/connection.h"
#include "client/download.h"

namespace quantd {

// Add and error may be called from any thread; the rest from the one that made it.
class Downloader {
 public:
  using OnFile = std::function<void(const v1::ArtifactFile& file, DownloadOutcome outcome)>;

  // `on_file` is called from the downloading thread.
  Downloader(Connection& connection, std::string job, std::string folder, OnFile on_file);
  ~Downloader();
  Downloader(const Downloader&) = delete;
  Downloader& operator=(const Downloader&) = delete;

  // A file that can be read from now on. A later one with the same path takes the place of an
  // earlier one: another attempt made it again.
  void Add(const v1::ArtifactFile& file);
  // The first error so far. A file of an attempt that was given up may be gone: that is none.
  absl::Status error() const;
  // Waits until all that was added is there, or the first error.
  absl::Status Wait();
  // After Wait: makes the folder hold `files` and nothing else that this object fetched.
  absl::Status Complete(const std::vector<v1::ArtifactFile>& files);
  // After Wait: removes what this object fetched, and folders that are empty then.
  void RemoveFetched();

 private:
  void Work();
  bool Idle() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return !error_.ok() || (queue_.empty() && !busy_);
  }
  bool HasWork() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return stopping_ || (error_.ok() && !queue_.empty());
  }
  void Remove(const std::string& path);

  Connection& connection_;
  const std::string job_, folder_;
  const OnFile on_file_;
  mutable absl::Mutex mutex_;
  std::deque<v1::ArtifactFile> queue_ ABSL_GUARDED_BY(mutex_);
  bool busy_ ABSL_GUARDED_BY(mutex_) = false;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status error_ ABSL_GUARDED_BY(mutex_);
  struct Held {
    v1::ArtifactFile file;
    DownloadOutcome outcome;
  };
  std::map<std::string, Held> held_ ABSL_GUARDED_BY(mutex_);  // by path
  std::thread thread_;
};

}  // namespace quantd
