// Speed of the quantization kernels per instruction set, beside memcpy of the same weights on the
// same machine.
//   kernels_bench [--benchmark_filter=int4]

#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "benchmark/benchmark.h"
#include "engine/backend/kernels.h"

namespace quantd {
namespace {

constexpr int64_t kWeights = int64_t{1} << 22;  // 16 MiB of f32: more than the second-level caches

const std::vector<float>& Weights() {
  static const std::vector<float> weights = [] {
    std::mt19937_64 random(1);
    std::normal_distribution<float> normal(0, 0.02f);
    std::vector<float> values(kWeights);
    for (float& value : values) value = normal(random);
    return values;
  }();
  return weights;
}

void CountWeights(benchmark::State& state) {
  state.SetItemsProcessed(state.iterations() * kWeights);
  state.SetBytesProcessed(state.iterations() * kWeights * static_cast<int64_t>(sizeof(float)));
}

void Copy(benchmark::State& state) {
  const std::vector<float>& from = Weights();
  std::vector<float> to(kWeights);
  for (auto _ : state) {
    std::memcpy(to.data(), from.data(), kWeights * sizeof(float));
    benchmark::ClobberMemory();
  }
  CountWeights(state);
}

// Scale, codes, energies and, at 4 bits, packing: all that a weight goes through.
void QuantizeGroups(benchmark::State& state, const QuantizeKernels* kernels, Scheme scheme) {
  const int64_t group = scheme.group_size;
  const std::vector<float> importance(static_cast<size_t>(group), 1.0f);
  const bool weighted = scheme.scale_rule == ScaleRule::kWeightedMse;
  std::vector<int8_t> codes(static_cast<size_t>(group));
  std::vector<uint32_t> words(kWeights / 8);
  for (auto _ : state) {
    double weight_energy = 0, error_energy = 0;
    for (int64_t at = 0; at < kWeights; at += group) {
      const float* weights = Weights().data() + at;
      float scale = 0;
      int8_t zero = 0;
      kernels->choose_scale(weights, weighted ? importance.data() : nullptr, group, scheme, &scale,
                            &zero);
      kernels->quantize(weights, group, scale, zero, scheme.bits, codes.data(), &weight_energy,
                        &error_energy);
      if (scheme.bits == 4) kernels->pack4(codes.data(), group, words.data() + at / 8);
    }
    benchmark::DoNotOptimize(error_energy);
    benchmark::ClobberMemory();
  }
  CountWeights(state);
}

void QuantizeTokens(benchmark::State& state, const QuantizeKernels* kernels) {
  constexpr int64_t kWidth = 4096;
  std::vector<int8_t> codes(kWidth);
  for (auto _ : state) {
    for (int64_t at = 0; at < kWeights; at += kWidth) {
      float scale = 0;
      kernels->quantize_token(Weights().data() + at, kWidth, codes.data(), &scale);
      benchmark::DoNotOptimize(scale);
    }
    benchmark::ClobberMemory();
  }
  CountWeights(state);
}

void RegisterAll() {
  benchmark::RegisterBenchmark("memcpy", Copy);
  for (const QuantizeKernels* kernels : AllCpuKernels()) {
    const std::string isa(kernels->isa);
    for (const int bits : {3, 4, 8}) {
      for (const bool symmetric : {true, false}) {
        for (const ScaleRule rule :
             {ScaleRule::kAbsmax, ScaleRule::kMse, ScaleRule::kWeightedMse}) {
          Scheme scheme;
          scheme.bits = bits;
          scheme.symmetric = symmetric;
          scheme.scale_rule = rule;
          const std::string name = isa + "/int" + std::to_string(bits) +
                                   (symmetric ? "/sym/" : "/asym/") + std::string(NameOf(rule));
          benchmark::RegisterBenchmark(name.c_str(), QuantizeGroups, kernels, scheme);
        }
      }
    }
    benchmark::RegisterBenchmark((isa + "/token").c_str(), QuantizeTokens, kernels);
  }
}

}  // namespace
}  // namespace quantd

int main(int count, char** arguments) {
  benchmark::Initialize(&count, arguments);
  if (benchmark::ReportUnrecognizedArguments(count, arguments)) return 1;
  quantd::RegisterAll();
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
