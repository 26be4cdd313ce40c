#include "engine/calibrate/gatherer.h"

#include <algorithm>
#include <utility>

#include "base/error.h"

namespace quantd {
namespace {

// Rows of a Gram matrix that one thread updates at a time.
constexpr int64_t kPanelRows = 256;
static_assert(LowerPanels::kRows % kPanelRows == 0);

}  // namespace

int64_t WindowsAtOnce(int64_t threads) { return std::max<int64_t>(1, threads); }

class Gatherer::Observer : public InputObserver {
 public:
  explicit Observer(const Gathering& gathering)
      : needs_(gathering.needs),
        divisors_(gathering.divisors),
        caches_(gathering.cache),
        statistics_(needs_.size()),
        inputs_(needs_.size()) {}

  void OnInput(int input, const float* x, int64_t tokens, int64_t channels) override {
    const auto at = static_cast<size_t>(input);
    if (!needs_[at].any()) return;
    if (at < divisors_.size() && !divisors_[at].empty()) x = Divide(x, tokens, divisors_[at]);
    statistics_[at] = InputStatistics(channels);
    statistics_[at].Add(x, tokens);
    if (needs_[at].histogram) statistics_[at].histogram.Add(x, tokens * channels);
    if (needs_[at].gram_block == 0) return;
    if (inputs_[at].size() != tokens * channels) {
      inputs_[at] = {};
      inputs_[at] = AlignedBuffer<float>(tokens * channels);
    }
    std::copy_n(x, tokens * channels, inputs_[at].data());
  }
  void OnCache(const float* keys, const float* values, int64_t tokens, int64_t channels) override {
    if (caches_) cache_.Add(keys, values, tokens, channels);
  }
  const CacheRange& cache() const { return cache_; }
  const InputStatistics& statistics(size_t input) const { return statistics_[input]; }
  const float* input(size_t input) const { return inputs_[input].data(); }

 private:
  const float* Divide(const float* x, int64_t tokens, const std::vector<float>& scales) {
    const size_t width = scales.size();
    divided_.resize(static_cast<size_t>(tokens) * width);
    for (size_t i = 0; i < divided_.size(); i += width) {
      for (size_t k = 0; k < width; ++k) divided_[i + k] = x[i + k] / scales[k];
    }
    return divided_.data();
  }

  const std::vector<StatisticsNeeds>& needs_;
  const Divisors& divisors_;
  const bool caches_;
  CacheRange cache_;  // of all windows that the slot has seen
  std::vector<float> divided_;
  std::vector<InputStatistics> statistics_;
  std::vector<AlignedBuffer<float>>
      inputs_;  // [tokens, channels], where a Gram matrix is asked for
};

Gatherer::Gatherer(Gathering gathering, int64_t windows_at_once)
    : gathering_(std::move(gathering)), statistics_(gathering_.needs.size()) {
  for (int64_t slot = 0; slot < windows_at_once; ++slot) {
    observers_.push_back(std::make_unique<Observer>(gathering_));
  }
}

Gatherer::~Gatherer() = default;

InputObserver& Gatherer::observer(int64_t slot) { return *observers_[static_cast<size_t>(slot)]; }

absl::Status Gatherer::EndBatch(int64_t windows, Backend& backend, ThreadPool& pool) {
  for (size_t input = 0; input < gathering_.needs.size(); ++input) {
    if (gathering_.needs[input].any()) QD_RETURN_IF_ERROR(Add(input, windows));
  }
  return UpdateGrams(windows, backend, pool);
}

// All but the Gram matrix, which there is from the first batch on.
absl::Status Gatherer::Add(size_t input, int64_t windows) {
  InputStatistics& sum = statistics_[input];
  if (sum.channels() == 0) {
    const int64_t channels = observers_.front()->statistics(input).channels();
    sum = InputStatistics(channels);
    const int64_t asked = gathering_.needs[input].gram_block;
    const bool whole = asked == kWholeGram || (asked > 0 && channels % asked != 0);
    if (asked != 0) {
      QD_ASSIGN_OR_RETURN(
          sum.gram, Gram::Make(channels, whole ? channels : asked, gathering_.scratch_folder));
    }
  }
  for (int64_t slot = 0; slot < windows; ++slot) {
    sum.Merge(observers_[static_cast<size_t>(slot)]->statistics(input));
  }
  return absl::OkStatus();
}

absl::Status Gatherer::UpdateGrams(int64_t windows, Backend& backend, ThreadPool& pool) {
  std::vector<Panel> panels;
  for (size_t input = 0; input < statistics_.size(); ++input) {
    const Gram& gram = statistics_[input].gram;
    if (gram.empty()) continue;
    // Whole blocks, or rows of the one block.
    const int64_t rows =
        gram.whole() ? kPanelRows : std::max<int64_t>(1, kPanelRows / gram.block) * gram.block;
    for (int64_t row = 0; row < gram.channels; row += rows) {
      panels.push_back({input, row, std::min(rows, gram.channels - row)});
    }
  }
  return pool.ForEach(static_cast<int64_t>(panels.size()), [&](int64_t index) -> absl::Status {
    const Panel& panel = panels[static_cast<size_t>(index)];
    for (int64_t slot = 0; slot < windows; ++slot) {
      const Observer& observer = *observers_[static_cast<size_t>(slot)];
      QD_RETURN_IF_ERROR(UpdatePanel(panel, observer.input(panel.input),
                                     observer.statistics(panel.input).tokens, backend));
    }
    const Gram& gram = statistics_[panel.input].gram;
    if (gram.whole()) gram.lower.Release(panel.row);
    return absl::OkStatus();
  });
}

absl::Status Gatherer::UpdatePanel(const Panel& panel, const float* x, int64_t tokens,
                                   Backend& backend) {
  if (tokens == 0) return absl::OkStatus();  // an expert that no token of the window chose
  Gram& gram = statistics_[panel.input].gram;
  const int64_t block = gram.block, channels = gram.channels;
  const auto add = [&](const float* left, const float* right, int64_t rows, int64_t columns,
                       float* to, int64_t stride) {
    return backend.Product({.m = rows,
                            .n = columns,
                            .k = tokens,
                            .lda = channels,
                            .ldb = channels,
                            .ldc = stride,
                            .transpose_a = true,
                            .transpose_b = false,
                            .alpha = 1,
                            .beta = 1},
                           left, right, to);
  };
  if (gram.whole()) {
    return add(x + panel.row, x, panel.rows, panel.row + panel.rows, gram.lower.Row(panel.row),
               gram.lower.Stride(panel.row));
  }
  for (int64_t row = panel.row; row < panel.row + panel.rows; row += block) {
    QD_RETURN_IF_ERROR(
        add(x + row, x + row, block, block, gram.blocks.data() + row * block, block));
  }
  return absl::OkStatus();
}

Gathered Gatherer::Finish() {
  Gathered gathered;
  for (const auto& observer : observers_) gathered.cache.Merge(observer->cache());
  for (InputStatistics& statistics : statistics_) {
    if (!statistics.gram.whole()) continue;
    LowerPanels& lower = statistics.gram.lower;
    for (int64_t i = 0; i < lower.size(); ++i) {
      for (int64_t j = i + 1; j < lower.PanelEnd(i); ++j) lower.Row(i)[j] = lower.Row(j)[i];
      if (i + 1 == lower.PanelEnd(i)) lower.Release(i);
    }
  }
  gathered.inputs = std::move(statistics_);
  return gathered;
}

}  // namespace quantd
