// Which stage of a run the time goes to.
#pragma once

#include <sys/resource.h>

#include <array>
#include <chrono>
#include <cstdint>
#include <utility>
#include <vector>

#include "engine/types/progress.h"

namespace quantd {

// The most memory that this process had, so far.
inline int64_t PeakRssBytes() {
  struct rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<int64_t>(usage.ru_maxrss) * 1024;
}

class StageClock {
 public:
  void Enter(Stage stage) {
    const auto now = std::chrono::steady_clock::now();
    seconds_[static_cast<size_t>(stage_)] += std::chrono::duration<double>(now - since_).count();
    stage_ = stage;
    since_ = now;
  }
  Stage stage() const { return stage_; }
  double Elapsed() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  }
  std::vector<std::pair<Stage, double>> Seconds() const {
    std::vector<std::pair<Stage, double>> all;
    for (const Stage stage :
         {Stage::kOpen, Stage::kCalibrate, Stage::kQuantize, Stage::kEvaluate, Stage::kWrite}) {
      all.emplace_back(stage, seconds_[static_cast<size_t>(stage)]);
    }
    return all;
  }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  std::chrono::steady_clock::time_point since_ = start_;
  Stage stage_ = Stage::kOpen;
  std::array<double, 6> seconds_{};
};

}  // namespace quantd
