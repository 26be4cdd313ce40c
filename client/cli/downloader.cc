#include "client/cli/downloader.h"

#include <algorithm>
#include <filesystem>
#include <utility>

namespace quantd {

namespace fs = std::filesystem;

Downloader::Downloader(Connection& connection, std::string job, std::string folder, OnFile on_file)
    : connection_(connection),
      job_(std::move(job)),
      folder_(std::move(folder)),
      on_file_(std::move(on_file)),
      thread_([this] { Work(); }) {}

Downloader::~Downloader() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
    queue_.clear();
  }
  thread_.join();
}

void Downloader::Add(const v1::ArtifactFile& file) {
  absl::MutexLock lock(&mutex_);
  std::erase_if(queue_, [&](const auto& other) { return other.path() == file.path(); });
  queue_.push_back(file);
}

absl::Status Downloader::error() const {
  absl::MutexLock lock(&mutex_);
  return error_;
}

absl::Status Downloader::Wait() {
  absl::MutexLock lock(&mutex_);
  mutex_.Await(absl::Condition(this, &Downloader::Idle));
  return error_;
}

void Downloader::Work() {
  while (true) {
    v1::ArtifactFile file;
    {
      absl::MutexLock lock(&mutex_);
      mutex_.Await(absl::Condition(this, &Downloader::HasWork));
      if (stopping_) return;
      file = std::move(queue_.front());
      queue_.pop_front();
      busy_ = true;
    }
    const auto outcome = DownloadFile(connection_, {.job = job_, .file = file, .folder = folder_});
    if (outcome.ok()) on_file_(file, *outcome);
    absl::MutexLock lock(&mutex_);
    busy_ = false;
    if (!outcome.ok()) {
      if (outcome.status().code() != absl::StatusCode::kNotFound) error_ = outcome.status();
    } else {
      held_[file.path()] = {.file = file, .outcome = *outcome};
    }
  }
}

absl::Status Downloader::Complete(const std::vector<v1::ArtifactFile>& files) {
  std::vector<std::string> stale;
  {
    absl::MutexLock lock(&mutex_);
    for (const auto& [path, held] : held_) {
      if (held.outcome == DownloadOutcome::kFetched &&
          std::none_of(files.begin(), files.end(),
                       [&](const auto& other) { return other.path() == path; })) {
        stale.push_back(path);
      }
    }
  }
  for (const std::string& path : stale) Remove(path);
  for (const v1::ArtifactFile& file : files) {
    {
      absl::MutexLock lock(&mutex_);
      const auto found = held_.find(file.path());
      if (found != held_.end() && found->second.file.sha256() == file.sha256()) continue;
    }
    Add(file);
  }
  return Wait();
}

void Downloader::RemoveFetched() {
  std::vector<std::string> paths;
  {
    absl::MutexLock lock(&mutex_);
    for (const auto& [path, held] : held_) {
      if (held.outcome == DownloadOutcome::kFetched) paths.push_back(path);
    }
  }
  for (const std::string& path : paths) Remove(path);
}

void Downloader::Remove(const std::string& path) {
  std::error_code ignored;
  fs::path full = fs::path(folder_) / path;
  fs::remove(full, ignored);
  // remove() leaves folders that hold something.
  for (fs::path parent = full.parent_path(); parent != fs::path(folder_).parent_path();
       parent = parent.parent_path()) {
    if (!fs::remove(parent, ignored)) break;
  }
  absl::MutexLock lock(&mutex_);
  held_.erase(path);
}

}  // namespace quantd
