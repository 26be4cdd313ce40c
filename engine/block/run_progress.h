// How far a run is, told to whoever watches.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <utility>

#include "engine/block/stage_clock.h"
#include "engine/types/progress.h"

namespace quantd {

class RunProgress {
 public:
  // `estimated_seconds`: of the plan, until a block is done. `written`: bytes so far.
  RunProgress(ProgressSink& sink, int64_t blocks, double estimated_seconds)
      : sink_(sink), estimated_seconds_(estimated_seconds) {
    report_.blocks_total = blocks;
  }

  // Who knows how many bytes are written.
  void CountWrittenBy(std::function<int64_t()> written) { written_ = std::move(written); }
  void AddTokens(int64_t tokens) { report_.tokens += tokens; }
  void AddBytesRead(int64_t bytes) { report_.bytes_read += bytes; }
  void AddBlock() { ++report_.blocks_done; }

  // The stage that begins now; tells the sink.
  void Enter(Stage stage) {
    clock_.Enter(stage);
    report_.stage = stage;
    report_.bytes_written = written_ ? written_() : 0;
    if (report_.blocks_done > 0) {
      const auto left = static_cast<double>(report_.blocks_total - report_.blocks_done);
      report_.eta_seconds = clock_.Elapsed() / static_cast<double>(report_.blocks_done) * left;
    } else {
      report_.eta_seconds = std::max(estimated_seconds_ - clock_.Elapsed(), 0.0);
    }
    sink_.OnProgress(report_);
  }
  const StageClock& clock() const { return clock_; }
  // Without a word: nothing follows.
  void Stop() { clock_.Enter(Stage::kDone); }

 private:
  ProgressSink& sink_;
  double estimated_seconds_;
  std::function<int64_t()> written_;
  StageClock clock_;
  ProgressReport report_;
};

}  // namespace quantd
