// Gathers the statistics of the inputs of one block while windows run through it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "base/threads.h"
#include "engine/backend/backend.h"
#include "engine/calibrate/cache_range.h"
#include "engine/calibrate/statistics.h"
#include "engine/model/forward.h"

namespace quantd {

// Scales that inputs are divided by before anything is gathered, by LinearSpec::input; one that is
// not there, or is empty, is taken as it is.
using Divisors = std::vector<std::vector<float>>;

// What is gathered of the inputs of a block, by LinearSpec::input.
struct Gathering {
  std::vector<StatisticsNeeds> needs;
  Divisors divisors = {};
  std::string scratch_folder = {};  // where Gram matrices lie; empty: in memory
  bool cache = false;               // how large keys and values get, too
};

struct Gathered {
  std::vector<InputStatistics> inputs;  // those of an input that nobody asked for are empty
  CacheRange cache;                     // empty unless it was asked for
};

// Windows of one batch: one for every thread. Sums go window by window, whatever the batch.
int64_t WindowsAtOnce(int64_t threads);

// Windows run in batches: those of a batch at once, on any threads, each showing its inputs to its
// own observer; between batches the Gram matrices are updated, on all threads. Windows are added in
// their order, so the result depends neither on the threads nor on the size of a batch.
// Memory: the inputs of one batch, where a Gram matrix is asked for, and the statistics.
class Gatherer {
 public:
  Gatherer(Gathering gathering, int64_t windows_at_once);
  ~Gatherer();

  // Of window `slot` of the batch.
  InputObserver& observer(int64_t slot);
  // Adds what the first `windows` slots saw.
  absl::Status EndBatch(int64_t windows, Backend& backend, ThreadPool& pool);
  Gathered Finish();

 private:
  class Observer;
  // Part of a Gram matrix that one thread updates: rows [row, row + rows) against the columns up to
  // the last of them (whole) or of their own blocks.
  struct Panel {
    size_t input = 0;
    int64_t row = 0, rows = 0;
  };
  absl::Status Add(size_t input, int64_t windows);
  absl::Status UpdateGrams(int64_t windows, Backend& backend, ThreadPool& pool);
  absl::Status UpdatePanel(const Panel& panel, const float* x, int64_t tokens, Backend& backend);

  Gathering gathering_;
  std::vector<InputStatistics> statistics_;
  std::vector<std::unique_ptr<Observer>> observers_;
};

}  // namespace quantd
