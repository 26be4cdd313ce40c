// Which kernels run here.

#include "engine/backend/kernels.h"

#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "engine/backend/cpu/quantize_lanes.h"

namespace quantd {
namespace {

bool HasAvx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }

bool HasAvx512() {
  return HasAvx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
}

std::vector<const QuantizeKernels*> FindKernels() {
  std::vector<const QuantizeKernels*> found = {&ScalarKernels()};
#if defined(__x86_64__)
  if (HasAvx2()) found.push_back(&Avx2Kernels());
  if (HasAvx512()) found.push_back(&Avx512Kernels());
#endif
  return found;
}

const QuantizeKernels& PickKernels() {
  const std::span<const QuantizeKernels* const> all = AllCpuKernels();
  const char* wanted = std::getenv("QUANTD_CPU_ISA");
  if (wanted == nullptr || *wanted == '\0') return *all.back();
  for (const QuantizeKernels* kernels : all) {
    if (kernels->isa == wanted) return *kernels;
  }
  std::string names;
  for (const QuantizeKernels* kernels : all) names.append(" ").append(kernels->isa);
  std::fprintf(stderr, "QUANTD_CPU_ISA: got %s, wanted one of what this machine has:%s\n", wanted,
               names.c_str());
  std::abort();
}

}  // namespace

std::span<const QuantizeKernels* const> AllCpuKernels() {
  static const std::vector<const QuantizeKernels*> kernels = FindKernels();
  return kernels;
}

const QuantizeKernels& CpuKernels() {
  static const QuantizeKernels& kernels = PickKernels();
  return kernels;
}

}  // namespace quantd
