// How much of oneDNN's own rate the forward pass of a block reaches: a block of TinyLlama's shape
// against its seven bare matrix products, in turn, in one run. Prints the median of the ratios: a
// ratio, because times depend on the machine.
//
//   forward_bench [rounds]
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "engine/backend/backend.h"
#include "engine/backend/cpu/gemm.h"
#include "engine/model/forward.h"

namespace quantd {
namespace {

constexpr int64_t kTokens = 512, kHidden = 2048, kIntermediate = 5632, kHeads = 32, kKvHeads = 4,
                  kHeadDim = 64;

double Seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Small numbers that neither vanish nor grow through a block.
AlignedBuffer<float> Noise(int64_t count, float scale) {
  AlignedBuffer<float> values(count);
  uint32_t state = 12345;
  for (float& value : values.span()) {
    state = state * 1664525U + 1013904223U;
    value = (static_cast<float>(state >> 8) * 0x1p-23F - 1.0F) * scale;
  }
  return values;
}

template <typename T>
T Must(absl::StatusOr<T> result) {
  if (!result.ok()) {
    std::fprintf(stderr, "%s\n", result.status().ToString().c_str());
    std::exit(1);
  }
  return *std::move(result);
}

void Must(const absl::Status& status) {
  Must(status.ok() ? absl::StatusOr<int>(0) : absl::StatusOr<int>(status));
}

ModelSpec TinyLlamaBlock() {
  const int64_t kv = kKvHeads * kHeadDim;
  ModelSpec model;
  model.hidden = kHidden;
  model.intermediate = kIntermediate;
  model.heads = kHeads;
  model.kv_heads = kKvHeads;
  model.head_dim = kHeadDim;
  model.rope.dims = kHeadDim;
  BlockSpec block;
  block.linears = {{"q", LinearRole::kQ, kHidden, kHidden, false, 0, 0},
                   {"k", LinearRole::kK, kv, kHidden, false, 0, 0},
                   {"v", LinearRole::kV, kv, kHidden, false, 0, 0},
                   {"o", LinearRole::kO, kHidden, kHidden, false, 0, 1},
                   {"gate", LinearRole::kGate, kIntermediate, kHidden, false, 0, 2},
                   {"up", LinearRole::kUp, kIntermediate, kHidden, false, 0, 2},
                   {"down", LinearRole::kDown, kHidden, kIntermediate, false, 0, 3}};
  model.blocks.push_back(std::move(block));
  return model;
}

// The seven products of the block and nothing else, on operands that are ready.
class BareProducts {
 public:
  BareProducts(const BlockSpec& block, GemmType type) {
    for (const LinearSpec& linear : block.linears) {
      const AlignedBuffer<float> w = Noise(linear.parameters(), 0.02F);
      weights_.push_back(
          Must(PackedRight::Make(type, w.data(), dnnl::memory::data_type::f32, linear.out_features,
                                 linear.in_features, linear.in_features)));
      shapes_.push_back({.type = type,
                         .right = GemmRight::kPacked,
                         .m = kTokens,
                         .n = linear.out_features,
                         .k = linear.in_features,
                         .lda = linear.in_features,
                         .ldc = linear.out_features});
      flops_ += 2.0 * static_cast<double>(kTokens) * static_cast<double>(linear.parameters());
    }
  }
  double flops() const { return flops_; }
  void Run() {
    for (size_t i = 0; i < shapes_.size(); ++i)
      Must(Gemm(shapes_[i], x_.data(), weights_[i].data(), nullptr, y_.data()));
  }

 private:
  std::vector<GemmShape> shapes_;
  std::vector<PackedRight> weights_;
  AlignedBuffer<float> x_ = Noise(kTokens * kIntermediate, 0.5F),
                       y_ = Noise(kTokens * kIntermediate, 0.5F);
  double flops_ = 0;
};

double Median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + static_cast<int64_t>(values.size()) / 2,
                   values.end());
  return values[values.size() / 2];
}

void Measure(ComputeType compute, int rounds) {
  Backend& backend = *Must(FindBackend("cpu"));
  const ModelSpec model = TinyLlamaBlock();
  const BlockSpec& block = model.blocks[0];
  BlockWeights weights;
  for (const LinearSpec& linear : block.linears) {
    const AlignedBuffer<float> w = Noise(linear.parameters(), 0.02F);
    auto prepared =
        backend.Prepare({w.data(), DType::kF32, linear.out_features, linear.in_features}, compute);
    if (!prepared.ok()) {
      std::printf("%-5s not on this machine\n", std::string(NameOf(compute)).c_str());
      return;
    }
    weights.linears.push_back({.weight = *std::move(prepared), .bias = nullptr});
  }
  AlignedBuffer<float> gain(kHidden);
  std::fill(gain.span().begin(), gain.span().end(), 1.0F);
  const auto shared = std::make_shared<const AlignedBuffer<float>>(std::move(gain));
  for (const NormRole role : {NormRole::kAttention, NormRole::kMlp}) {
    weights.norms[static_cast<size_t>(role)].gain = shared;
  }
  const RopeTables ropes = RopeTables::Make(model, kTokens);
  BareProducts bare(block, compute == ComputeType::kBF16 ? GemmType::kBF16 : GemmType::kF32);

  const AlignedBuffer<float> start = Noise(kTokens * kHidden, 1.0F);
  AlignedBuffer<float> x(start.size());
  std::vector<double> ratios, block_rates, bare_rates;
  for (int round = -1; round < rounds; ++round) {  // the first builds primitives and buffers
    std::copy(start.span().begin(), start.span().end(), x.data());
    const double begin = Seconds();
    Must(ForwardBlock(model, block, weights, ropes, backend, compute, kTokens, x.data(), nullptr));
    const double middle = Seconds();
    bare.Run();
    const double end = Seconds();
    if (round < 0) continue;
    // The block's own products count, and nothing for attention: the ratio is the share of time in
    // them.
    ratios.push_back((end - middle) / (middle - begin));
    block_rates.push_back(bare.flops() / (middle - begin) / 1e9);
    bare_rates.push_back(bare.flops() / (end - middle) / 1e9);
  }
  std::printf(
      "%-5s block %.3f of bare oneDNN (median of %d; %.0f against %.0f GFLOP/s on one thread)\n",
      std::string(NameOf(compute)).c_str(), Median(ratios), rounds, Median(block_rates),
      Median(bare_rates));
}

}  // namespace
}  // namespace quantd

int main(int count, char** arguments) {
  const int rounds = count > 1 ? std::max(1, std::atoi(arguments[1])) : 7;
  for (const quantd::ComputeType compute :
       {quantd::ComputeType::kF32, quantd::ComputeType::kBF16}) {
    quantd::Measure(compute, rounds);
  }
}
