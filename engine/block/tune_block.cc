#include "engine/block/tune_block.h"

#include <algorithm>
#include <utility>

#include "base/error.h"

namespace quantd {
namespace {

// Keeps one input of a block.
class OneInput : public InputObserver {
 public:
  explicit OneInput(int input) : input_(input) {}
  void OnInput(int input, const float* x, int64_t tokens, int64_t channels) override {
    if (input != input_) return;
    x_ = AlignedBuffer<float>(tokens * channels);
    std::copy_n(x, tokens * channels, x_.data());
  }
  const float* x() const { return x_.data(); }

 private:
  int input_;
  AlignedBuffer<float> x_;
};

// Both blocks, one window after another.
class Comparison {
 public:
  Comparison(const Block& block, const TuneInputs& inputs) : block_(block), inputs_(inputs) {}

  // Of linear `index` of the block, `quantized` being its block.
  absl::StatusOr<OutputSums> Of(size_t index, const BlockWeights& quantized) const {
    const int64_t windows = inputs_.windows.size();
    std::vector<OutputSums> parts(static_cast<size_t>(windows));
    QD_RETURN_IF_ERROR(inputs_.forward.pool.ForEach(windows, [&](int64_t w) -> absl::Status {
      AlignedBuffer<float> y, y_quantized;
      QD_RETURN_IF_ERROR(Output(w, index, inputs_.original, y));
      QD_RETURN_IF_ERROR(Output(w, index, quantized, y_quantized));
      parts[static_cast<size_t>(w)] =
          Sums(y.span(), y_quantized.span(), block_.spec.linears[index].out_features);
      return absl::OkStatus();
    }));
    OutputSums all = std::move(parts[0]);
    for (size_t w = 1; w < parts.size(); ++w) {
      for (size_t n = 0; n < all.product.size(); ++n) {
        all.product[n] += parts[w].product[n];
        all.energy[n] += parts[w].energy[n];
      }
    }
    return all;
  }

 private:
  // What linear `index` gives in a window; its bias, the same in both blocks, is left out.
  absl::Status Output(int64_t window, size_t index, const BlockWeights& weights,
                      AlignedBuffer<float>& y) const {
    const ForwardContext& forward = inputs_.forward;
    const auto values = inputs_.windows.values(window);
    const int64_t tokens = inputs_.windows.windows().tokens_per_window;
    AlignedBuffer<float> x(static_cast<int64_t>(values.size()));
    std::copy(values.begin(), values.end(), x.data());
    OneInput seen(block_.spec.linears[index].input);
    QD_RETURN_IF_ERROR(ForwardBlock(forward.model, block_.spec, weights, forward.ropes,
                                    forward.backend, forward.compute, tokens, x.data(), &seen));
    y = AlignedBuffer<float>(tokens * block_.spec.linears[index].out_features);
    return forward.backend.MatMul(seen.x(), tokens, *weights.linears[index].weight, nullptr,
                                  y.data());
  }

  static OutputSums Sums(std::span<const float> y, std::span<const float> y_quantized,
                         int64_t channels) {
    const auto width = static_cast<size_t>(channels);
    OutputSums sums{.product = std::vector<double>(width), .energy = std::vector<double>(width)};
    for (size_t i = 0; i < y.size(); ++i) {
      const double got = y_quantized[i];
      sums.product[i % width] += static_cast<double>(y[i]) * got;
      sums.energy[i % width] += got * got;
    }
    return sums;
  }

  const Block& block_;
  const TuneInputs& inputs_;
};

}  // namespace

absl::Status TuneBlock(const Block& block, const TuneInputs& inputs, const MethodContext& context,
                       std::vector<QuantizedLinear>& linears) {
  BlockWeights quantized = inputs.quantized;
  const auto prepare = [&](size_t i) -> absl::Status {
    if (!linears[i].rows.has_value()) return absl::OkStatus();
    QD_ASSIGN_OR_RETURN(quantized.linears[i].weight,
                        context.backend.PrepareQuantized(*linears[i].rows, *block.linears[i].scheme,
                                                         inputs.forward.compute));
    return absl::OkStatus();
  };
  for (size_t i = 0; i < linears.size(); ++i) QD_RETURN_IF_ERROR(prepare(i));
  // Methods in the order of their first linear, each with its own.
  std::vector<std::pair<const Method*, std::vector<size_t>>> methods;
  for (size_t i = 0; i < linears.size(); ++i) {
    if (!Tunes(block.linears[i])) continue;
    const Method* method = FindMethod(block.linears[i].scheme->method);
    auto home = std::find_if(methods.begin(), methods.end(),
                             [&](const auto& entry) { return entry.first == method; });
    if (home == methods.end()) home = methods.insert(home, {method, {}});
    home->second.push_back(i);
  }
  const Comparison comparison(block, inputs);
  for (const auto& [method, indices] : methods) {
    TuneRequest request;
    for (const size_t i : indices) {
      request.linears.push_back({.linear = block.linears[i].linear,
                                 .scheme = &*block.linears[i].scheme,
                                 .rows = &*linears[i].rows});
    }
    // What was tuned since the last comparison is prepared anew.
    size_t prepared = 0;
    request.compare = [&, indices = indices](size_t index) -> absl::StatusOr<OutputSums> {
      for (; prepared < index; ++prepared) QD_RETURN_IF_ERROR(prepare(indices[prepared]));
      return comparison.Of(indices[index], quantized);
    };
    QD_RETURN_IF_ERROR(method->tune(request, context));
    for (const size_t i : indices) QD_RETURN_IF_ERROR(prepare(i));
  }
  return absl::OkStatus();
}

}  // namespace quantd
