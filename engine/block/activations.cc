#include "engine/block/activations.h"

#include <algorithm>
#include <utility>

#include "base/error.h"

namespace quantd {
namespace {

// Tokens sampled per linear over all windows.
constexpr int64_t kSampledTokens = 256;

int64_t InputsOf(const BlockSpec& block) {
  int inputs = 0;
  for (const LinearSpec& linear : block.linears) inputs = std::max(inputs, linear.input + 1);
  return inputs;
}

// Keeps every `stride`-th row of a window; more of them of an expert, which sees but some tokens.
class SampleObserver : public InputObserver {
 public:
  SampleObserver(int64_t inputs, int64_t stride, int64_t window_tokens)
      : stride_(stride), window_tokens_(window_tokens) {
    samples_.inputs.resize(static_cast<size_t>(inputs));
  }
  void OnInput(int input, const float* x, int64_t tokens, int64_t channels) override {
    auto& rows = samples_.inputs[static_cast<size_t>(input)];
    rows.channels = channels;
    const int64_t stride = std::max<int64_t>(1, stride_ * tokens / window_tokens_);
    for (int64_t row = stride - 1; row < tokens; row += stride) {
      rows.x.insert(rows.x.end(), x + row * channels, x + (row + 1) * channels);
      ++rows.tokens;
    }
  }
  InputSamples& samples() { return samples_; }

 private:
  int64_t stride_, window_tokens_;
  InputSamples samples_;
};

// Runs `forward(window, observer)` for every window, batch by batch.
template <typename Forward>
absl::StatusOr<Gathered> GatherInBatches(const ForwardContext& context, int64_t windows,
                                         Gathering gathering, const Forward& forward) {
  const int64_t at_once = std::min(windows, WindowsAtOnce(context.pool.threads()));
  Gatherer gatherer(std::move(gathering), at_once);
  for (int64_t first = 0; first < windows; first += at_once) {
    const int64_t count = std::min(at_once, windows - first);
    QD_RETURN_IF_ERROR(context.pool.ForEach(
        count, [&](int64_t slot) { return forward(first + slot, &gatherer.observer(slot)); }));
    QD_RETURN_IF_ERROR(gatherer.EndBatch(count, context.backend, context.pool));
  }
  return gatherer.Finish();
}

}  // namespace

absl::StatusOr<Activations> Activations::Embed(Windows windows, const Embedding& embedding,
                                               int64_t hidden, ThreadPool& pool) {
  Activations stream;
  stream.windows_ = std::move(windows);
  const int64_t tokens = stream.windows_.tokens_per_window;
  stream.x_.resize(stream.windows_.ids.size());
  QD_RETURN_IF_ERROR(pool.ForEach(stream.size(), [&](int64_t window) {
    const auto index = static_cast<size_t>(window);
    stream.x_[index] = AlignedBuffer<float>(tokens * hidden);
    return embedding.Embed(stream.windows_.ids[index], stream.x_[index].data());
  }));
  return stream;
}

Activations Activations::First(int64_t windows) const {
  Activations first;
  first.windows_ = windows_;
  first.windows_.ids.resize(static_cast<size_t>(std::min(windows, size())));
  for (size_t i = 0; i < first.windows_.ids.size(); ++i) {
    first.x_.emplace_back(x_[i].size());
    std::copy_n(x_[i].data(), x_[i].size(), first.x_[i].data());
  }
  return first;
}

absl::Status Activations::Forward(const ForwardContext& context, const BlockSpec& block,
                                  const BlockWeights& weights) {
  return context.pool.ForEach(size(), [&](int64_t window) {
    return ForwardBlock(context.model, block, weights, context.ropes, context.backend,
                        context.compute, windows_.tokens_per_window,
                        x_[static_cast<size_t>(window)].data(), nullptr);
  });
}

absl::StatusOr<InputSamples> Activations::ForwardSampling(const ForwardContext& context,
                                                          const BlockSpec& block,
                                                          const BlockWeights& weights) {
  const int64_t inputs = InputsOf(block);
  const int64_t stride = std::max<int64_t>(1, windows_.total_tokens() / kSampledTokens);
  const int64_t in_window = std::min(stride, windows_.tokens_per_window);
  std::vector<SampleObserver> observers(
      x_.size(), SampleObserver(inputs, in_window, windows_.tokens_per_window));
  QD_RETURN_IF_ERROR(context.pool.ForEach(size(), [&](int64_t window) {
    const auto index = static_cast<size_t>(window);
    return ForwardBlock(context.model, block, weights, context.ropes, context.backend,
                        context.compute, windows_.tokens_per_window, x_[index].data(),
                        &observers[index]);
  }));
  InputSamples all;
  all.inputs.resize(static_cast<size_t>(inputs));
  for (SampleObserver& observer : observers) {
    for (size_t input = 0; input < all.inputs.size(); ++input) {
      const auto& from = observer.samples().inputs[input];
      auto& to = all.inputs[input];
      to.channels = from.channels;
      to.tokens += from.tokens;
      to.x.insert(to.x.end(), from.x.begin(), from.x.end());
    }
  }
  return all;
}

absl::StatusOr<Gathered> Activations::ForwardGathering(const ForwardContext& context,
                                                       const BlockSpec& block,
                                                       const BlockWeights& weights,
                                                       Gathering gathering) {
  return GatherInBatches(context, size(), std::move(gathering),
                         [&](int64_t window, InputObserver* observer) -> absl::Status {
                           return ForwardBlock(context.model, block, weights, context.ropes,
                                               context.backend, context.compute,
                                               windows_.tokens_per_window,
                                               x_[static_cast<size_t>(window)].data(), observer);
                         });
}

absl::StatusOr<Gathered> Activations::Gather(const ForwardContext& context, const BlockSpec& block,
                                             const BlockWeights& weights,
                                             Gathering gathering) const {
  return GatherInBatches(context, size(), std::move(gathering),
                         [&](int64_t window, InputObserver* observer) -> absl::Status {
                           const AlignedBuffer<float>& x = x_[static_cast<size_t>(window)];
                           AlignedBuffer<float> copy(x.size());
                           std::copy_n(x.data(), x.size(), copy.data());
                           return ForwardBlock(context.model, block, weights, context.ropes,
                                               context.backend, context.compute,
                                               windows_.tokens_per_window, copy.data(), observer);
                         });
}

}  // namespace quantd
